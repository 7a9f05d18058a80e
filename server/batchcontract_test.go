package server

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// inBatches says that clients send what can be an item of a batch as one, beside others.
// Only TestContractInBatches sets it, while no other test runs.
var inBatches = false

// TestContractInBatches runs tests of single requests with each request in a batch.
func TestContractInBatches(t *testing.T) {
	inBatches = true
	defer func() { inBatches = false }()
	for name, test := range map[string]func(*testing.T){
		"Create": TestCreate, "Exchange": TestExchange, "Unset": TestUnset, "ExchangeHeaders": TestExchangeHeaders,
		"Delete": TestDelete, "DeleteOfASpentToken": TestDeleteOfASpentTokenEndsNothing, "Validate": TestValidate,
		"EveryInvalidToken": TestEveryInvalidTokenGetsTheSameAnswer,
		"InvalidRequest":    TestInvalidRequest, "NullFields": TestNullFields, "NamesTheField": TestInvalidRequestNamesTheField,
		"IgnoredFields": TestIgnoredFields, "EscapedFields": TestEscapedFields,
		"LifetimeRefused": TestLifetimeRefused, "LifetimesAreApart": TestLifetimesAreApart,
		"Values": TestValuesComeBackAsTheyWere, "Names": TestNamesComeBackAsTheyWere, "Merge": TestMerge,
		"ThousandsOfMembers": TestThousandsOfMembers, "MetaTooLarge": TestMetaTooLarge,
		"GraceOfPatchesThatDoNotFit": TestGraceOfPatchesThatDoNotFit, "GraceMergesPatches": TestGraceMergesPatches,
		"GraceOfValidateAndDelete": TestGraceOfValidateAndDelete,
	} {
		t.Run(name, test)
	}
	if batchesSent == 0 {
		t.Error("no request was sent in a batch")
	}
}

var batchesSent = 0

// kindsOfRequests are the requests that can be items.
var kindsOfRequests = map[string]string{
	"POST /token": "create", "PUT /token": "exchange", "POST /token/validate": "validate", "DELETE /token": "delete",
}

// doInBatch sends a request as an item of a batch, and returns the answer that the
// request of its own would have got. It returns false if it can't be one: it is no
// good JSON, or too large. One that is no object has another message, and is left out.
func (c *client) doInBatch(method, path, body string) (r reply, ok bool) {
	c.t.Helper()
	kind, ok := kindsOfRequests[method+" "+path]
	if !ok || !json.Valid([]byte(body)) || !strings.HasPrefix(strings.TrimSpace(body), "{") {
		return r, false
	}
	const before, behind = `{"validate":{"token":"` + somewhere + `"}}`, `{"delete":{"token":"` + somewhere + `"}}`
	c.send(requestText("POST", batchPath, batchText(before, `{"`+kind+`":`+body+`}`, behind)))
	all := c.receive("POST")
	if all.status == 400 || all.status == 413 {
		return r, false
	}
	answers := c.batchAnswers(all)
	if len(answers) != 3 || answers[0] != invalidToken || answers[2] != `{"Ok":{}}` {
		c.t.Fatalf("the items around %s of %.200s got %.200q", kind, body, answers)
	}
	batchesSent++
	return single(kind, answers[1]), true
}

// single returns the answer of a request of its own.
func single(kind, answer string) reply {
	header := http.Header{"Cache-Control": {"no-store"}, "Content-Type": {"application/json"}}
	r := reply{status: 200, header: header, body: answer}
	var failed struct{ Err string }
	json.Unmarshal([]byte(answer), &failed)
	switch {
	case failed.Err != "":
		r.status = map[string]int{"InvalidToken": 200, "InvalidRequest": 422, "MetaTooLarge": 413, "StoreFull": 507, "StoreUnavailable": 503}[failed.Err]
	case kind == "create":
		header.Set("Content-Type", "text/plain; charset=utf-8")
		r.body = strings.TrimSuffix(strings.TrimPrefix(answer, `{"Ok":{"token":"`), `"}}`)
	case kind == "delete":
		header.Del("Content-Type")
		r.status, r.body = 202, strings.TrimPrefix(answer, `{"Ok":{}}`)
	case kind == "exchange" && strings.HasSuffix(answer, `,"reused":true}}`):
		header.Set("Token-Reused", "true")
		r.body = strings.TrimSuffix(answer, `,"reused":true}}`) + "}}"
	}
	header.Set("Content-Length", strconv.Itoa(len(r.body)))
	return r
}
