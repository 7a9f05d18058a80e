package flags_test

import (
	"fmt"

	"tokenserver/internal/flags"
)

func Example() {
	port := 8080
	environment := map[string]string{"MY_SERVER_PORT": "70000"}
	s := flags.New("my-server", func(name string) string { return environment[name] })
	s.VarP(flags.Number(&port, 0, 65535), "port", "p", "port to listen on")

	fmt.Println(s.Parse(nil))
	fmt.Println(s.Parse([]string{"--port=70000"}))
	fmt.Println(s.Parse([]string{"-p", "80"}))
	fmt.Println(port)
	// Output:
	// MY_SERVER_PORT "70000": must be a whole number, 0 … 65535
	// --port "70000": must be a whole number, 0 … 65535
	// <nil>
	// 80
}

// A kind of value of its own changes one that there is.
func ExampleTyped() {
	memory := int64(-1)
	v := flags.SizeLimit(&memory, flags.GiB)
	v.Format = func(n int64) string {
		if n < 0 {
			return "half of the memory"
		}
		return flags.FormatSize(n)
	}
	fmt.Println(v.String())
	fmt.Println(v.Set("64 KiB"), v.String())
	// Output:
	// half of the memory
	// <nil> 64KiB
}
