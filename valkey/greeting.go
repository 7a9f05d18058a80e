package valkey

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
)

// greeting is a connection on which we ask something before the client has it.
type greeting struct {
	conn net.Conn
	in   *bufio.Reader
}

// maxReply is how many bytes, or parts, a reply may have.
const maxReply = 16 << 20

// replyError is an error that an engine says instead of greeting.
type replyError struct{ text string }

func (e *replyError) Error() string { return e.text }

// ask sends a command, and returns the texts of the reply in their order. Its error is a
// replyError if the engine says one.
func (g *greeting) ask(command ...string) (texts []string, err error) {
	request := fmt.Appendf(nil, "*%d\r\n", len(command))
	for _, word := range command {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := g.conn.Write(request); err != nil {
		return nil, err
	}
	return g.read(nil)
}

// read appends the texts of a reply to texts. Nothing has no text.
func (g *greeting) read(texts []string) ([]string, error) {
	line, err := g.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errReply
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '-':
		return nil, &replyError{strings.TrimPrefix(rest, "ERR ")}
	case '_':
		return texts, nil
	case '$', '=', '*', '~', '%':
		n, err := strconv.Atoi(rest)
		if err != nil || n > maxReply {
			return nil, errReply
		}
		return g.readParts(kind, n, texts)
	}
	return append(texts, rest), nil
}

// readParts reads what follows the length of a text or a list; -1 is nothing.
func (g *greeting) readParts(kind byte, n int, texts []string) (_ []string, err error) {
	switch {
	case n < 0:
		return texts, nil
	case kind == '$' || kind == '=':
		text := make([]byte, n+len("\r\n"))
		if _, err := io.ReadFull(g.in, text); err != nil {
			return nil, err
		}
		return append(texts, string(text[:n])), nil
	case kind == '%':
		n *= 2
	}
	for range n {
		if texts, err = g.read(texts); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// info returns what INFO says, or nothing if that is forbidden.
func (g *greeting) info(sections ...string) (string, error) {
	texts, err := g.ask(append([]string{"INFO"}, sections...)...)
	if refused, ok := err.(*replyError); ok && classifyReply(refused.text).kind == "noperm" {
		return "", nil
	}
	return strings.Join(texts, ""), err
}

// get returns a text, or nothing.
func (g *greeting) get(key string) (string, error) {
	texts, err := g.ask("GET", key)
	return strings.Join(texts, ""), err
}

// scanned is how many keys are looked at for one that tells.
const scanned = "1000"

// hasKeys says whether an engine has keys with a pattern among the first ones that it lists.
func (g *greeting) hasKeys(pattern string) (bool, error) {
	texts, err := g.ask("SCAN", "0", "MATCH", pattern, "COUNT", scanned)
	return len(texts) > 1, err // the first is the cursor
}

// nodes returns the ids of the nodes that a node of a cluster names.
func (g *greeting) nodes() (ids []string, err error) {
	texts, err := g.ask("CLUSTER", "SLOTS")
	return slices.DeleteFunc(texts, func(text string) bool { return !isNodeID(text) }), err
}

// isNodeID says whether a text is the id of a node: 40 hexadecimal digits.
func isNodeID(text string) bool {
	return len(text) == 40 && strings.Trim(text, "0123456789abcdef") == ""
}
