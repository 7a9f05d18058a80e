package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tokenserver/token"
)

// pages lists a subject page by page, and returns the metadata of each.
func (t *tester) pages(name string, limit int) (pages [][]string) {
	t.Helper()
	const most = 1000
	page := token.Page{Limit: limit}
	for range most {
		list, more, err := t.store.SubjectSessions(t.Context(), []byte(name), page)
		if err != nil {
			t.Fatalf("SubjectSessions(%.50q, page %d of %d) = error %v", name, len(pages), limit, err)
		}
		pages = append(pages, metasOf(list))
		if !more {
			return pages
		}
		page.After = list[len(list)-1].Name
	}
	t.Fatalf("SubjectSessions(%.50q): there are more after %d pages of %d", name, most, limit)
	return nil
}

func metasOf(list []token.Session) (metas []string) {
	for _, s := range list {
		metas = append(metas, string(s.Meta))
	}
	return metas
}

// pageError expects that a page is refused.
func (t *tester) pageError(name string, after token.SessionName) {
	t.Helper()
	list, more, err := t.store.SubjectSessions(t.Context(), []byte(name), token.Page{Limit: 10, After: after})
	if len(list) > 0 || more || !errors.Is(err, token.ErrUnknownSession) {
		t.Fatalf("SubjectSessions(%.50q, after %v) = %d sessions, more: %v, error %v, want %v",
			name, after, len(list), more, err, token.ErrUnknownSession)
	}
}

// testSessionNames has names that are derived from the ids, and stay.
func testSessionNames(t *tester) {
	tokens, metas := t.createManyFor("ada", 3)
	slices.Reverse(metas)
	for range 3 {
		for i, s := range t.subjectSessions("ada", 10, false, metas...) {
			if got, want := s.Name, tokens[len(tokens)-1-i].ID.Name(); got != want {
				t.Fatalf("session %d has the name %v, want %v", i, got, want)
			}
		}
		for i := range tokens {
			tokens[i] = t.exchange(tokens[i], "", metas[len(metas)-1-i])
		}
	}
}

func testSubjectPages(t *tester) {
	const n = 100
	_, metas := t.createManyFor("ada", n)
	t.createManyFor("bob", 3)
	slices.Reverse(metas)
	for _, limit := range []int{1, 7, 50, n - 1, n, n + 1} {
		want := slices.Collect(slices.Chunk(metas, limit))
		if got := t.pages("ada", limit); !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("pages of %d sessions = %d pages %.300q, want %d %.300q", limit, len(got), got, len(want), want)
		}
	}
}

// testSubjectPagesOfMany has more sessions than are looked at in a single step.
func testSubjectPagesOfMany(t *tester) {
	const n = 1500
	want := make(map[string]bool)
	for i := range n {
		meta := fmt.Sprintf(`{"n":%d}`, i)
		want[meta] = true
		t.createFor("ada", meta)
	}
	for _, page := range t.pages("ada", 400) {
		for _, meta := range page {
			if !want[meta] {
				t.Fatalf("session %s is listed twice", meta)
			}
			delete(want, meta)
		}
	}
	if len(want) > 0 {
		t.Fatalf("%d of %d sessions are on no page", len(want), n)
	}
}

// testSubjectPagesBytes has pages that are full before their limit.
func testSubjectPagesBytes(t *tester) {
	var metas []string
	for i, size := range []int{20, token.MaxListing / 2, token.MaxListing/2 - 20, 20, token.MaxListing + 1, token.MaxListing} {
		metas = append([]string{text(fmt.Sprint("n", i), size)}, metas...)
		t.createFor("ada", metas[0])
		time.Sleep(2 * time.Millisecond)
	}
	want := [][]string{metas[:1], metas[1:2], metas[2:5], metas[5:]}
	if got := t.pages("ada", 1000); !slices.EqualFunc(got, want, slices.Equal) {
		for i, page := range got {
			t.Logf("page %d has %d sessions", i, len(page))
		}
		t.Fatalf("large sessions are listed in %d pages, want 4, of 1, 1, 3 and 1", len(got))
	}
}

// testSubjectPagesChange has sessions begin and end between two pages.
func testSubjectPagesChange(t *tester) {
	tokens, metas := t.createManyFor("ada", 10)
	slices.Reverse(metas)
	slices.Reverse(tokens)
	page := t.subjectSessions("ada", 4, true, metas[:4]...)
	t.createFor("ada", `{"new":1}`)
	tokens[3] = t.exchange(tokens[3], `{"patched":1}`, metas[3][:len(metas[3])-1]+`,"patched":1}`)
	for _, i := range []int{0, 4, 6, 9} {
		t.delete(tokens[i])
	}
	rest := []string{metas[5], metas[7], metas[8]}
	after := token.Page{Limit: 3, After: page[3].Name}
	list, more, err := t.store.SubjectSessions(t.Context(), []byte("ada"), after)
	if got := metasOf(list); !slices.Equal(got, rest) || more || err != nil {
		t.Fatalf("the next page = %q, more: %v, error %v, want %q, false", got, more, err, rest)
	}

	t.delete(tokens[3])
	t.pageError("ada", page[3].Name)
	last := token.Page{Limit: 3, After: list[2].Name}
	if list, more, err = t.store.SubjectSessions(t.Context(), []byte("ada"), last); len(list) > 0 || more || err != nil {
		t.Fatalf("a page after the last session = %d sessions, more: %v, error %v, want none", len(list), more, err)
	}
}

func testSubjectPagesUnknown(t *tester) {
	lifetime, _, _ := t.phases()
	t.pageError("ada", token.Generate().ID.Name())
	ada, bob, nobodys := t.createFor("ada", `{"a":1}`), t.createFor("bob", `{"b":1}`), t.create(`{"c":1}`)
	t.pageError("ada", token.Generate().ID.Name())
	t.pageError("ada", bob.ID.Name())
	t.pageError("ada", nobodys.ID.Name())
	t.pageError("", nobodys.ID.Name())
	t.createNew(token.NewSession{Subject: []byte("ada"), Meta: []byte(`{"longer":1}`), Lifetime: 4 * lifetime})
	t.sleepUntil(t.now().Add(lifetime))
	t.pageError("ada", ada.ID.Name())
	t.subjectSessions("ada", 10, false, `{"longer":1}`)
}
