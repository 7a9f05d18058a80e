package flags

import (
	"slices"
	"testing"
)

func TestRepeated(t *testing.T) {
	tests := []struct {
		name     string
		args     []string
		variable string
		want     []int
	}{
		{"the default", nil, "", []int{7}},
		{"one", []string{"--port=1"}, "", []int{1}},
		{"several, in their order", []string{"--port=3", "--port", "1", "--port=3"}, "", []int{3, 1, 3}},
		{"a variable", nil, "5", []int{5}},
		{"a variable with a list", nil, "5, 6,7", []int{5, 6, 7}},
		{"flags win over the variable as a whole", []string{"--port=1"}, "5,6", []int{1}},
	}
	for _, tt := range tests {
		got, err := parseRepeated(tt.args, tt.variable)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: Parse(%q) with %q = %v, %v, want %v", tt.name, tt.args, tt.variable, got, err, tt.want)
		}
	}
}

func TestRepeatedErrors(t *testing.T) {
	tests := []struct {
		args     []string
		variable string
		want     string
	}{
		{[]string{"--port=1", "--port=x"}, "", `--port "x": must be a whole number, 0 … 9`},
		{[]string{"--port=1,2"}, "", `--port "1,2": must be a whole number, 0 … 9`},
		{nil, "1,10", `A_B_PORT "1,10": must be a whole number, 0 … 9`},
		{nil, "1,,2", `A_B_PORT "1,,2": must be a whole number, 0 … 9`},
		{nil, ",", `A_B_PORT ",": must be a whole number, 0 … 9`},
	}
	for _, tt := range tests {
		if _, err := parseRepeated(tt.args, tt.variable); err == nil || err.Error() != tt.want {
			t.Errorf("Parse(%q) with %q = %v, want %q", tt.args, tt.variable, err, tt.want)
		}
	}
}

// parseRepeated parses args and a variable with one flag, --port, whose default is 7.
func parseRepeated(args []string, variable string) ([]int, error) {
	ports := []int{7}
	s := New("a-b", func(string) string { return variable })
	s.Var(&Repeated[int]{Target: &ports, Each: Number(new(int), 0, 9)}, "port", "ports")
	err := s.Parse(args)
	return ports, err
}

func TestRepeatedTexts(t *testing.T) {
	ports := []int{1, 2}
	v := &Repeated[int]{Target: &ports, Each: Number(new(int), 0, 9)}
	got := []string{v.String(), v.Type(), v.Allowed(), v.Needs()}
	want := []string{"1,2", "number", "0 … 9; may be given several times", "a whole number, 0 … 9"}
	if !slices.Equal(got, want) {
		t.Errorf("texts = %q, want %q", got, want)
	}
}
