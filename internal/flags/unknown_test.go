package flags

import (
	"slices"
	"testing"
)

func TestUnknownVariables(t *testing.T) {
	environ := []string{
		"A_B_PROT=1", "A_B_DATA_FIEL=x=y", "A_B_PORT=1", "A_B_HELP=x", "A_B_VERSION=1.2", "A_B_DUMP=true",
		"A_B_EMPTY=", "A_B_NOVALUE", "A_BC=1", "PORT=1", "",
	}
	want := []UnknownVariable{{"A_B_DATA_FIEL", "A_B_DATA_FILE"}, {"A_B_PROT", "A_B_PORT"}}
	_, s, err := parse(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.UnknownVariables(environ); !slices.Equal(got, want) {
		t.Errorf("UnknownVariables(%q) = %v, want %v", environ, got, want)
	}
}
