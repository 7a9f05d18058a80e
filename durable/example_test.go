package durable_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"tokenserver/durable"
	"tokenserver/token"
)

// A session outlives the Store that made it.
func Example() {
	dir, err := os.MkdirTemp("", "token-server")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	cfg := durable.Config{Dir: filepath.Join(dir, "data"), MinFree: 1}
	ctx := context.Background()

	store, err := durable.Open(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := store.Load(ctx); err != nil {
		fmt.Println(err)
		return
	}
	t, _ := store.Create(ctx, token.NewSession{Meta: []byte(`{"user":"grace"}`)})
	store.Close()

	store, err = durable.Open(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	if err := store.Load(ctx); err != nil {
		fmt.Println(err)
		return
	}
	meta, _, err := store.Validate(ctx, t, nil)
	fmt.Println(string(meta), err)
	// Output: {"user":"grace"} <nil>
}
