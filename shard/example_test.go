package shard_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tokenserver/shard"
	"tokenserver/token"
)

func Example() {
	store := shard.New(shard.Config{Lifetime: time.Hour})
	defer store.Close()
	ctx := context.Background()

	t, err := store.Create(ctx, token.NewSession{Meta: []byte(`{"user":"grace"}`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	x, err := store.Exchange(ctx, t, token.Patch{Meta: []byte(`{"cart":[17]}`)}, nil)
	fmt.Println(string(x.Meta), err)

	_, err = store.Exchange(ctx, t, token.Patch{}, nil) // t is spent
	fmt.Println(errors.Is(err, token.ErrInvalid))
	// Output:
	// {"user":"grace","cart":[17]} <nil>
	// true
}

// With a grace a spent token gets the session's current one for a while.
func ExampleStore_Exchange_grace() {
	store := shard.New(shard.Config{Grace: 5 * time.Second})
	defer store.Close()
	ctx := context.Background()

	t, _ := store.Create(ctx, token.NewSession{Meta: []byte(`{}`)})
	first, _ := store.Exchange(ctx, t, token.Patch{}, nil)
	again, err := store.Exchange(ctx, t, token.Patch{}, nil)
	fmt.Println(again.Reused, again.Token == first.Token, err)
	// Output: true true <nil>
}

func ExampleStore_EndSubject() {
	store := shard.New(shard.Config{})
	defer store.Close()
	ctx := context.Background()
	for range 2 {
		store.Create(ctx, token.NewSession{Meta: []byte(`{}`), Subject: []byte("user-42")})
	}
	ended, err := store.EndSubject(ctx, []byte("user-42"))
	fmt.Println(ended, err)
	// Output: 2 <nil>
}
