package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"tokenserver/internal/flags"
	"tokenserver/shard"
)

// root is the way to the root of the repository.
const root = "../.."

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// flagRow is a line of the README's table of flags: | `-p, --port` | 3666 | … |
var flagRow = regexp.MustCompile("(?m)^\\| `((?:-[^`]*, )?--[^`]+)` \\|([^|]*)\\|")

func TestReadmeFlags(t *testing.T) {
	got := make(map[string]string)
	for _, row := range flagRow.FindAllStringSubmatch(readDoc(t, "README.md"), -1) {
		if _, twice := got[row[1]]; twice {
			t.Errorf("README.md has %s twice", row[1])
		}
		got[row[1]] = strings.TrimSpace(row[2])
	}
	want := make(map[string]string)
	c := defaultConfig()
	c.flagSet(nil, new(bool)).VisitAll(func(f *pflag.Flag) { want[flagTitle(f)] = writtenDefault(f) })
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, ok := got[name]; !ok {
			t.Errorf("README.md has no flag %s, whose default is %q", name, want[name])
		} else if value != want[name] {
			t.Errorf("README.md has %s with the default %q, want %q", name, value, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("README.md has the flag %s, which the program has not", name)
		}
	}
}

// TestReadmeRanges: where a flag has a range, its row in the README has it too.
func TestReadmeRanges(t *testing.T) {
	readme := readDoc(t, "README.md")
	c := defaultConfig()
	c.flagSet(nil, new(bool)).VisitAll(func(f *pflag.Flag) {
		for _, want := range rangeOf.FindAllString(f.Value.(flags.Value).Allowed(), -1) {
			row := regexp.MustCompile("(?m)^\\| `" + flagTitle(f) + "`.*$").FindString(readme)
			if !strings.Contains(row, want) {
				t.Errorf("README.md has no %q in the row %q", want, row)
			}
		}
	})
}

// rangeOf matches the range in what a flag allows, such as 1s … 90min.
var rangeOf = regexp.MustCompile(`[0-9A-Za-z]+ … [0-9A-Za-z]+`)

func flagTitle(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand + ", --" + f.Name
	}
	return "--" + f.Name
}

// writtenDefault returns a flag's default as the README has it. Two depend on
// the machine, and a switch is off, unless it is of no use to say so.
func writtenDefault(f *pflag.Flag) string {
	switch {
	case f.Name == "help", f.Name == "version":
		return ""
	case f.DefValue == "false":
		return "off"
	case f.Name == "shards" && f.DefValue == strconv.Itoa(shard.DefaultShards()):
		return "16 a processor"
	case f.Name == "max-memory" && strings.HasPrefix(f.DefValue, "half of the memory"):
		return "half of the memory"
	}
	return f.DefValue
}

// maxReadme is how many words the README may have: what is longer is in docs.
const maxReadme = 2000

func TestReadmeIsShort(t *testing.T) {
	if got := len(strings.Fields(readDoc(t, "README.md"))); got > maxReadme {
		t.Errorf("README.md has %d words, want %d at most: its long text goes to docs", got, maxReadme)
	}
}

// TestReadmeLinks follows the links of all documents that lead into the repository.
func TestReadmeLinks(t *testing.T) {
	documents := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "deploy/README.md"}
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(docs) == 0 {
		t.Fatalf("docs = %q, %v, want some", docs, err)
	}
	for _, name := range docs {
		documents = append(documents, "docs/"+filepath.Base(name))
	}
	for _, document := range documents {
		links := linksOf(readDoc(t, document))
		for _, link := range links {
			checkLink(t, document, link)
		}
		if len(links) == 0 {
			t.Errorf("%s has no link at all", document)
		}
	}
}

var (
	fence      = regexp.MustCompile("(?ms)^```.*?^```$")
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	linkTarget = regexp.MustCompile(`\]\(([^)\s]*)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// linksOf returns the targets of links and images, but those in code and to other hosts.
func linksOf(text string) (links []string) {
	text = inlineCode.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
	for _, match := range linkTarget.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(match[1], "://") {
			links = append(links, match[1])
		}
	}
	return links
}

// checkLink checks that a link of a document leads to a file, and its anchor to a heading.
func checkLink(t *testing.T, document, link string) {
	t.Helper()
	path, anchor, hasAnchor := strings.Cut(link, "#")
	target := document
	if path != "" {
		target = filepath.Join(filepath.Dir(document), path)
	}
	if _, err := os.Stat(filepath.Join(root, target)); err != nil || !filepath.IsLocal(target) {
		t.Errorf("%s: the link %q leads to no file of the repository", document, link)
		return
	}
	if hasAnchor && !slices.Contains(anchorsOf(readDoc(t, target)), anchor) {
		t.Errorf("%s: the link %q leads to no heading of %s", document, link, target)
	}
}

// anchorsOf returns the anchors that a text's headings get where it is shown:
// in lower case, without punctuation, with hyphens for blanks, and numbered from
// the second of a name on.
func anchorsOf(text string) (anchors []string) {
	seen := make(map[string]int)
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		slug := strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-")
		anchor := slug
		if n := seen[slug]; n > 0 {
			anchor += "-" + strconv.Itoa(n)
		}
		seen[slug]++
		anchors = append(anchors, anchor)
	}
	return anchors
}
