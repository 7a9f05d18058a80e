package main

import (
	"encoding/json"
	"testing"
)

func TestAnswerHasTheSizeOfAnExchange(t *testing.T) {
	exchanged := `{"Ok":{"token":"0123456789abcdefghijABCDEFGHIJ-_","meta":{"user":"grace"}}}`
	got := answer(len(`{"user":"grace"}`))
	if len(got) != len(exchanged) {
		t.Errorf("answer(16) has %d bytes, want %d", len(got), len(exchanged))
	}
	if !json.Valid(got) {
		t.Errorf("answer(16) = %s, want JSON", got)
	}
}
