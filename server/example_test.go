package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"tokenserver/server"
	"tokenserver/shard"
)

// A Server answers from any Store; here it is the embedded one.
func Example() {
	store := shard.New(shard.Config{})
	defer store.Close()
	s := server.New(server.Config{Store: store})

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()

	url := "http://" + ln.Addr().String() + "/token"
	resp, err := http.Post(url, "application/json", strings.NewReader(`{"meta":{"user":"grace"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	t, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Println(resp.StatusCode, len(t))

	http.DefaultClient.CloseIdleConnections()
	fmt.Println(s.Shutdown(context.Background()), <-served)
	// Output:
	// 200 32
	// <nil> <nil>
}
