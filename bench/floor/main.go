// Command floor is the least that an HTTP server does: fasthttp as it comes, with
// the same bytes for every request. They are as many as an exchange's answer has,
// so that what a Token Server costs beyond this is its own.
package main

import (
	"fmt"
	"log"
	"strings"

	"github.com/spf13/pflag"
	"github.com/valyala/fasthttp"

	"tokenserver/token"
)

func main() {
	address := pflag.String("address", "127.0.0.1:3666", "host:port to listen on")
	metaSize := pflag.Int("meta-size", 115, "bytes of metadata in the answer, 2 or more")
	pflag.Parse()
	body := answer(*metaSize)
	log.Fatal(fasthttp.ListenAndServe(*address, func(ctx *fasthttp.RequestCtx) {
		ctx.Write(body)
	}))
}

// answer returns an exchange's answer with metaSize bytes of metadata.
func answer(metaSize int) []byte {
	text := strings.Repeat("A", token.EncodedLen)
	meta := "{" + strings.Repeat(" ", metaSize-2) + "}"
	return fmt.Appendf(nil, `{"Ok":{"token":"%s","meta":%s}}`, text, meta)
}
