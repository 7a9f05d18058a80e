package token_test

import (
	"errors"
	"fmt"

	"tokenserver/token"
)

// A store keeps the digest of the token that it has given out, and recognizes the
// token by it.
func Example() {
	first := token.Generate()
	kept := first.Digest()

	text := first.Append(nil)
	presented, err := token.Parse(text)
	fmt.Println(len(text), err, presented.Digest() == kept)

	next := presented.Next()
	fmt.Println(next.ID == first.ID, next.Digest() == kept)
	// Output:
	// 32 <nil> true
	// true false
}

func ExampleParse() {
	_, err := token.Parse([]byte("no token"))
	fmt.Println(errors.Is(err, token.ErrInvalid))
	// Output: true
}

// With a secret the next token is derived, so that it can be told later which
// token followed which.
func ExampleSecret_Next() {
	secret := token.NewSecret([]byte("a key of 32 bytes at the least .."))
	t := token.Generate()
	next, again := secret.Next(t), secret.Next(t)
	fmt.Println(next == again, next == t)
	// Output: true false
}

// A token never slips into a log.
func ExampleToken_String() {
	fmt.Println(token.Generate())
	// Output: token(secret)
}
