package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"tokenserver/client"
)

// user is what a web server keeps of one.
type user struct {
	Name string `json:"name"`
	Cart []int  `json:"cart"`
}

// serve stands for a token server, and answers what the example of a call is about.
func serve(answers map[string]string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "DELETE" && r.URL.Path == "/token" {
			w.WriteHeader(http.StatusAccepted)
		}
		io.WriteString(w, answers[r.Method+" "+r.URL.Path])
	}))
}

const exampleToken = "zTKlq5hKJ0o_mT8vZ0nW1xYkB-aQeRtU"

func Example() {
	s := serve(map[string]string{
		"POST /token": exampleToken,
		"PUT /token":  `{"Ok":{"token":"` + exampleToken + `","meta":{"name":"Grace","cart":[]}}}`,
	})
	defer s.Close()

	c, err := client.New(client.Config{Addresses: []string{s.URL}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()

	// A user logs in.
	token, err := c.Create(ctx, client.NewSession{Meta: json.RawMessage(`{"name":"Grace","cart":[]}`)})
	if err != nil {
		log.Fatal(err)
	}
	// Their next request: the token goes, the next one comes.
	x, err := c.Exchange(ctx, token, client.Patch{})
	if err != nil {
		log.Fatal(err)
	}
	u, err := client.Decode[user](x.Meta)
	fmt.Println(u.Name, len(x.Token), err)
	// Output: Grace 32 <nil>
}

func ExampleNew() {
	c, err := client.New(client.Config{
		Addresses:  []string{"https://tokens-1.example:3666", "https://tokens-2.example:3666"},
		Timeout:    2 * time.Second,
		SecretFile: "/run/secrets/token-server",
		CertFile:   "", // and KeyFile, where the servers ask for a certificate
	})
	fmt.Println(err)
	c.Close()
	// Output: <nil>
}

func ExampleClient_Close() {
	c, _ := client.New(client.Config{Addresses: []string{"127.0.0.1:3666"}})
	c.Close()
	_, err := c.Validate(context.Background(), exampleToken)
	fmt.Println(errors.Is(err, client.ErrClosed))
	// Output: true
}

func ExampleClient_Create() {
	s := serve(map[string]string{"POST /token": exampleToken})
	defer s.Close()
	c, _ := client.New(client.Config{Addresses: []string{s.URL}})
	defer c.Close()

	meta, _ := json.Marshal(user{Name: "Grace"})
	token, err := c.Create(context.Background(), client.NewSession{
		Meta:     meta,
		Subject:  "user-4711",
		Lifetime: 30 * time.Minute,
	})
	fmt.Println(len(token), err)
	// Output: 32 <nil>
}

func ExampleClient_Exchange() {
	s := serve(map[string]string{"PUT /token": `{"Ok":{"token":"` + exampleToken + `","meta":{"name":"Grace","cart":[17]}}}`})
	defer s.Close()
	c, _ := client.New(client.Config{Addresses: []string{s.URL}})
	defer c.Close()

	x, err := c.Exchange(context.Background(), exampleToken, client.Patch{
		Meta:  json.RawMessage(`{"cart":[17]}`),
		Unset: []string{"coupon"},
	})
	switch {
	case errors.Is(err, client.ErrInvalidToken):
		fmt.Println("to the login page")
	case errors.Is(err, client.ErrOutcomeUnknown):
		fmt.Println("to the login page, unless the servers have a grace") // see Config.RetryUnknown
	case err != nil:
		fmt.Println("the token is as it was: 503")
	default:
		fmt.Println(string(x.Meta))
	}
	// Output: {"name":"Grace","cart":[17]}
}

func ExampleClient_Validate() {
	s := serve(map[string]string{"POST /token/validate": `{"Ok":{"meta":{"name":"Grace"},"expires_in":7200}}`})
	defer s.Close()
	c, _ := client.New(client.Config{Addresses: []string{s.URL}})
	defer c.Close()

	v, err := c.Validate(context.Background(), exampleToken)
	fmt.Println(string(v.Meta), v.ExpiresIn, err)
	// Output: {"name":"Grace"} 2h0m0s <nil>
}

func ExampleClient_Delete() {
	s := serve(nil)
	defer s.Close()
	c, _ := client.New(client.Config{Addresses: []string{s.URL}})
	defer c.Close()

	fmt.Println(c.Delete(context.Background(), exampleToken))
	// Output: <nil>
}

func ExampleClient_SubjectSessions() {
	s := serve(map[string]string{"POST /subject/sessions": `{"Ok":{"sessions":[
		{"session":"kPq3xYz0aBcD_eFg","created":"2026-11-24T16:00:00Z","expires":"2026-11-24T18:00:00Z","meta":{"device":"phone"}}],"more":true}}`})
	defer s.Close()
	c, _ := client.New(client.Config{Addresses: []string{s.URL}})
	defer c.Close()

	list, err := c.SubjectSessions(context.Background(), "user-4711", client.Listing{Limit: 1})
	for _, session := range list.Sessions {
		fmt.Println(session.Name, session.Created.Format(time.DateOnly), string(session.Meta))
	}
	fmt.Println(list.More, err)
	// Output:
	// kPq3xYz0aBcD_eFg 2026-11-24 {"device":"phone"}
	// true <nil>
}

func ExampleClient_EndSubject() {
	s := serve(map[string]string{"DELETE /subject": `{"Ok":{"ended":3}}`})
	defer s.Close()
	c, _ := client.New(client.Config{Addresses: []string{s.URL}})
	defer c.Close()

	// A new password: log them out everywhere but here.
	ended, err := c.EndSubject(context.Background(), "user-4711", client.Ending{Keep: exampleToken})
	fmt.Println(ended, err)
	// Output: 3 <nil>
}

func ExampleClient_Ready() {
	s := serve(nil)
	defer s.Close()
	c, _ := client.New(client.Config{Addresses: []string{s.URL}})
	defer c.Close()

	fmt.Println(c.Ready(context.Background()))
	// Output: <nil>
}

func ExampleDecode() {
	u, err := client.Decode[user](json.RawMessage(`{"name":"Grace","cart":[17]}`))
	fmt.Println(u.Name, u.Cart, err)
	// Output: Grace [17] <nil>
}
