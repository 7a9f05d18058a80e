package server

import (
	_ "embed"

	"github.com/valyala/fasthttp"
)

// openapi is the contract as tools read it. The tests check each answer against it.
//
//go:embed openapi.yaml
var openapi []byte

func handleOpenAPI(ctx *fasthttp.RequestCtx) error {
	ctx.Response.Header.SetContentType("application/yaml")
	ctx.Response.SetBodyRaw(openapi)
	return nil
}
