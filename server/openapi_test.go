package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	"github.com/pb33f/libopenapi/orderedmap"
)

// contract is openapi.yaml as a validator has it. It is made before any test, since some
// run in a bubble of synctest.
var contract = newContract()

type openapiContract struct {
	model     *v3.Document
	mu        sync.Mutex // guards validator
	validator validator.Validator
}

func newContract() *openapiContract {
	document, err := libopenapi.NewDocument(openapi)
	if err != nil {
		panic(err)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		panic(err)
	}
	v, errs := validator.NewValidator(document, config.WithoutSecurityValidation(), config.WithFormatAssertions())
	if len(errs) > 0 {
		panic(errs)
	}
	return &openapiContract{model: &model.Model, validator: v}
}

// operation returns that of a method and a path, or nil.
func (c *openapiContract) operation(method, path string) *v3.Operation {
	item := c.model.Paths.PathItems.GetOrZero(path)
	if item == nil || method != strings.ToUpper(method) {
		return nil
	}
	return item.GetOperations().GetOrZero(strings.ToLower(method))
}

// checkedSize is the length in bytes of the largest answer that is checked: others say the
// same, and take long.
const checkedSize = 64 << 10

// wantContract checks an answer against openapi.yaml. Requests that it doesn't have are for
// other tests, and so are numbers that the validator can't read.
func (r reply) wantContract(t testing.TB, method, target string) {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	op := contract.operation(method, path)
	var value any
	if op == nil || strings.Contains(target, "#") || len(r.body) > checkedSize || strings.Contains(r.body, `"Ok"`) && json.Unmarshal([]byte(r.body), &value) != nil {
		return
	}
	if method == "HEAD" { // has no body, which the validator would miss
		if op.Responses.Codes.GetOrZero(strconv.Itoa(r.status)) == nil {
			t.Errorf("HEAD %s: the status %d is not in openapi.yaml", path, r.status)
		}
		return
	}
	req, err := http.NewRequest(method, "http://127.0.0.1:3666"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	header := r.header.Clone()
	contract.mu.Lock()
	defer contract.mu.Unlock()
	ok, errs := contract.validator.ValidateHttpResponse(req, &http.Response{StatusCode: r.status, Header: header, Body: io.NopCloser(strings.NewReader(r.body))})
	if !ok {
		t.Errorf("%s %s: %.500v is not as openapi.yaml has it: %s", method, path, r, textOf(errs))
	}
}

func textOf(errs []*errors.ValidationError) (text string) {
	for _, err := range errs {
		text += fmt.Sprintf("\n%s: %s %v", err.Message, err.Reason, err.SchemaValidationErrors)
	}
	return text
}

func TestOpenAPIIsValid(t *testing.T) {
	if ok, errs := contract.validator.ValidateDocument(); !ok {
		t.Error(textOf(errs))
	}
	if !strings.HasPrefix(contract.model.Version, "3.1.") {
		t.Errorf("version %s, want 3.1", contract.model.Version)
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
		op := contract.operation(route.method, route.path)
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
			if op.Responses.Codes.GetOrZero(strconv.Itoa(status)) == nil {
				t.Errorf("%s %s has no answer %d", route.method, route.path, status)
			}
		}
		if open := op.Security != nil && len(op.Security) == 0; open != (route.needs == 0) {
			t.Errorf("%s %s is for everybody: %v, want %v", route.method, route.path, open, route.needs == 0)
		}
	}
	for path, item := range contract.model.Paths.PathItems.FromOldest() {
		for method := range item.GetOperations().FromOldest() {
			got = append(got, strings.ToUpper(method)+" "+path)
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
	for _, item := range contract.model.Paths.PathItems.FromOldest() {
		for _, op := range item.GetOperations().FromOldest() {
			for status, response := range op.Responses.Codes.FromOldest() {
				for _, media := range response.Content.FromOldest() {
					for name, field := range media.Schema.Schema().Properties.FromOldest() {
						if name == "Err" {
							codes[status] = addCodes(codes[status], field.Schema())
						}
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

func addCodes(codes map[string]bool, schema *base.Schema) map[string]bool {
	if codes == nil {
		codes = map[string]bool{}
	}
	for _, code := range append(slices.Clone(schema.Enum), schema.Const) {
		if code != nil {
			codes[code.Value] = true
		}
	}
	return codes
}

// TestOpenAPIExamples: what openapi.yaml gives as examples is as its own schemas have it, and there is
// one of each body.
func TestOpenAPIExamples(t *testing.T) {
	checked := 0
	for path, item := range contract.model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			method = strings.ToUpper(method)
			if op.RequestBody != nil {
				media := op.RequestBody.Content.GetOrZero("application/json")
				for name, text := range examplesOf(t, media.Examples) {
					req, err := http.NewRequest(method, "http://127.0.0.1:3666"+path, strings.NewReader(text))
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Content-Type", "application/json")
					if ok, errs := contract.validator.ValidateHttpRequest(req); !ok {
						t.Errorf("the example %s of %s %s is bad: %s", name, method, path, textOf(errs))
					}
					checked++
				}
				if media.Examples.Len() == 0 {
					t.Errorf("%s %s has no example of its body", method, path)
				}
			}
			checked += checkExamplesOfAnswers(t, method, path, op)
		}
	}
	if checked < 100 {
		t.Errorf("%d examples were checked, want all", checked)
	}
}

func checkExamplesOfAnswers(t *testing.T, method, path string, op *v3.Operation) (checked int) {
	for status, response := range op.Responses.Codes.FromOldest() {
		code, err := strconv.Atoi(status)
		if err != nil {
			t.Errorf("%s %s: status %q", method, path, status)
		}
		for contentType, media := range response.Content.FromOldest() {
			if media.Examples.Len() == 0 && path != "/openapi.yaml" {
				t.Errorf("%s %s: %s has no example", method, path, status)
			}
			for _, text := range examplesOf(t, media.Examples) {
				if contentType != "application/json" {
					json.Unmarshal([]byte(text), &text) // a text stands for itself
				}
				header := http.Header{"Content-Type": {contentType}, "Cache-Control": {"no-store"}}
				for name, h := range response.Headers.FromOldest() {
					if h.Required && h.Schema.Schema().Const != nil {
						header.Set(name, h.Schema.Schema().Const.Value)
					}
				}
				if method != "HEAD" {
					reply{status: code, header: header, body: text}.wantContract(t, method, path)
				}
				checked++
			}
		}
	}
	return checked
}

// examplesOf returns examples as JSON.
func examplesOf(t *testing.T, examples *orderedmap.Map[string, *base.Example]) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for name, example := range examples.FromOldest() {
		var value any
		if err := example.Value.Decode(&value); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}
