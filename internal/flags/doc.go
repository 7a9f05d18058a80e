// Package flags is the kit from which the programs make their flags: typed
// values with a range, strict messages of one line, and environment variables
// that stand for flags.
//
// # Basics
//
// A program makes a Set with New, adds one Value for each flag, and calls Parse.
// What a target holds when its flag is added is the flag's default:
//
//	port := 8080
//	s := flags.New("my-server", os.Getenv)
//	s.VarP(flags.Number(&port, 0, 65535), "port", "p", "port to listen on")
//	err := s.Parse(os.Args[1:])
//
// Here the variable MY_SERVER_PORT stands for --port where that is not given. A
// value out of its range is refused with an error that names the flag or the
// variable, the value, and what is allowed:
//
//	--port "70000": must be a whole number, 0 … 65535
//
// A program with a kind of value of its own fills a Typed, or changes one that
// this package made. A Repeated makes a list of any kind.
//
// # Caveats
//
// A Set takes flags and nothing else: an argument that is no flag is an error.
//
// An empty environment variable counts as unset. Variables are not looked at
// when help is asked for.
//
// Numbers have no sign, and a switch is true or false: of many spellings, only
// one is taken. A value is not trimmed, but a duration may have blanks around
// its numbers and a size before its unit.
//
// Values check themselves, one by one. What holds for several flags together is
// for the program to check after Parse.
package flags
