package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// contract is openapi.yaml. It is read before any test, since some run in a bubble of synctest.
var contract = newContract()

func newContract() *openapi3.T {
	document, err := openapi3.NewLoader().LoadFromData(openapi)
	if err != nil {
		panic(err)
	}
	return document
}

// operationOf returns that of a method and a path, or nil.
func operationOf(method, path string) *openapi3.Operation {
	item := contract.Paths.Value(path)
	if item == nil {
		return nil
	}
	return item.Operations()[method]
}

// requestOf returns a request as openapi3filter takes it.
func requestOf(t testing.TB, method, path, body string) *openapi3filter.RequestValidationInput {
	t.Helper()
	req, err := http.NewRequest(method, "http://127.0.0.1:3666"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	route := &routers.Route{Spec: contract, Path: path, PathItem: contract.Paths.Value(path), Method: method, Operation: operationOf(method, path)}
	return &openapi3filter.RequestValidationInput{Request: req, Route: route, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
}

// checkedSize is the length in bytes of the largest answer that is checked: others say the
// same, and take long.
const checkedSize = 64 << 10

// wantContract checks an answer against openapi.yaml. Requests that it doesn't have are for
// other tests, and so are numbers that the validator can't read.
func (r reply) wantContract(t testing.TB, method, target string) {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	op := operationOf(method, path)
	var value any
	if op == nil || strings.Contains(target, "#") || len(r.body) > checkedSize || strings.Contains(r.body, `"Ok"`) && json.Unmarshal([]byte(r.body), &value) != nil {
		return
	}
	if op.Responses.Status(r.status) == nil { // of HEAD, too, of which nothing else is looked at
		t.Errorf("%s %s: the status %d is not in openapi.yaml", method, path, r.status)
		return
	}
	answer := &openapi3filter.ResponseValidationInput{RequestValidationInput: requestOf(t, method, path, ""), Status: r.status, Header: r.header.Clone()}
	answer.SetBodyBytes([]byte(r.body))
	if err := openapi3filter.ValidateResponse(context.Background(), answer); err != nil {
		t.Errorf("%s %s: %.500v is not as openapi.yaml has it: %v", method, path, r, err)
	}
}

func TestOpenAPIIsValid(t *testing.T) {
	if err := contract.Validate(t.Context(), openapi3.IsOpenAPI31OrLater(), openapi3.EnableSchemaFormatValidation()); err != nil {
		t.Error(err)
	}
	if !contract.IsOpenAPI31OrLater() {
		t.Errorf("version %s, want 3.1", contract.OpenAPI)
	}
	c := serve(t, Config{}).dial(t)
	if r := c.do("GET", "/openapi.yaml", ""); r.status != 200 || r.body != string(openapi) || r.contentType() != "application/yaml" {
		t.Errorf("GET /openapi.yaml: %.100v, want the file", r)
	}
	if r := c.do("HEAD", "/openapi.yaml", ""); r.status != 200 || r.header.Get("Content-Length") != strconv.Itoa(len(openapi)) {
		t.Errorf("HEAD /openapi.yaml: %v, want 200", r)
	}
}

// TestOpenAPIHasAllRoutes, and no others, and for each the answers that any request may get.
func TestOpenAPIHasAllRoutes(t *testing.T) {
	var want, got []string
	for _, route := range new(Server).routes(true) {
		want = append(want, route.method+" "+route.path)
		op := operationOf(route.method, route.path)
		if op == nil {
			continue
		}
		statuses := []int{400, 408, 413, 431, 500, 503}
		if route.needs != 0 {
			statuses = append(statuses, 403)
		}
		if route.needs != 0 && route.path != authPath {
			statuses = append(statuses, 401)
		}
		if op.RequestBody != nil {
			statuses = append(statuses, 415, 422)
		}
		for _, status := range statuses {
			if op.Responses.Status(status) == nil {
				t.Errorf("%s %s has no answer %d", route.method, route.path, status)
			}
		}
		if open := op.Security != nil && len(*op.Security) == 0; open != (route.needs == 0) {
			t.Errorf("%s %s is for everybody: %v, want %v", route.method, route.path, open, route.needs == 0)
		}
	}
	for path, item := range contract.Paths.Map() {
		for method := range item.Operations() {
			got = append(got, method+" "+path)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("operations %q, want %q", got, want)
	}
}

// TestOpenAPIHasAllErrors: each code of the server stands with its status, and no other.
func TestOpenAPIHasAllErrors(t *testing.T) {
	codes := map[string]map[string]bool{} // by status
	for _, item := range contract.Paths.Map() {
		for _, op := range item.Operations() {
			for status, response := range op.Responses.Map() {
				for _, media := range response.Value.Content {
					if field := media.Schema.Value.Properties["Err"]; field != nil {
						codes[status] = addCodes(codes[status], field.Value)
					}
				}
			}
		}
	}
	// InvalidToken is an answer of 200 beside others, BatchTooLarge that to an item, and
	// MethodNotAllowed to no operation.
	apart := []string{"200 InvalidToken", "413 BatchTooLarge", "405 MethodNotAllowed"}
	for _, a := range answers {
		status := strconv.Itoa(a.status)
		if !codes[status][a.code] && !slices.Contains(apart, status+" "+a.code) {
			t.Errorf("openapi.yaml has no %d %s", a.status, a.code)
		}
	}
	for status, left := range codes {
		for code := range left {
			if !slices.ContainsFunc(answers, func(a answer) bool { return strconv.Itoa(a.status) == status && a.code == code }) {
				t.Errorf("openapi.yaml has %s %s, which the server has not", status, code)
			}
		}
	}
}

func addCodes(codes map[string]bool, schema *openapi3.Schema) map[string]bool {
	if codes == nil {
		codes = map[string]bool{}
	}
	for _, code := range append(slices.Clone(schema.Enum), schema.Const) {
		if code != nil {
			codes[code.(string)] = true
		}
	}
	return codes
}

// TestOpenAPIExamples: what openapi.yaml gives as examples is as its own schemas have it, and there is
// one of each body.
func TestOpenAPIExamples(t *testing.T) {
	checked := 0
	for path, item := range contract.Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody != nil {
				checked += checkExamplesOfBody(t, method, path, op.RequestBody.Value.Content["application/json"])
			}
			checked += checkExamplesOfAnswers(t, method, path, op)
		}
	}
	if checked < 100 {
		t.Errorf("%d examples were checked, want all", checked)
	}
}

func checkExamplesOfBody(t *testing.T, method, path string, media *openapi3.MediaType) (checked int) {
	for name, example := range media.Examples {
		request := requestOf(t, method, path, textOf(t, "application/json", example))
		request.Request.Header.Set("Content-Type", "application/json")
		if err := openapi3filter.ValidateRequest(t.Context(), request); err != nil {
			t.Errorf("the example %s of %s %s is bad: %v", name, method, path, err)
		}
		checked++
	}
	if checked == 0 {
		t.Errorf("%s %s has no example of its body", method, path)
	}
	return checked
}

func checkExamplesOfAnswers(t *testing.T, method, path string, op *openapi3.Operation) (checked int) {
	for status, response := range op.Responses.Map() {
		code, err := strconv.Atoi(status)
		if err != nil {
			t.Errorf("%s %s: status %q", method, path, status)
		}
		for contentType, media := range response.Value.Content {
			if len(media.Examples) == 0 && path != "/openapi.yaml" {
				t.Errorf("%s %s: %s has no example", method, path, status)
			}
			header := http.Header{"Content-Type": {contentType}, "Cache-Control": {"no-store"}}
			for name, h := range response.Value.Headers {
				if h.Value.Required && h.Value.Schema.Value.Const != nil {
					header.Set(name, h.Value.Schema.Value.Const.(string))
				}
			}
			for _, example := range media.Examples {
				reply{status: code, header: header, body: textOf(t, contentType, example)}.wantContract(t, method, path)
				checked++
			}
		}
	}
	return checked
}

// textOf returns an example as it is sent.
func textOf(t *testing.T, contentType string, example *openapi3.ExampleRef) string {
	t.Helper()
	if text, ok := example.Value.Value.(string); ok && contentType != "application/json" {
		return text
	}
	text, err := json.Marshal(example.Value.Value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
