package tokenserver_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "tokenserver"

// mayImport has, for each package, the packages of this module that it may
// import. Programs, tests and benchmarks join packages as they like.
var mayImport = map[string][]string{
	"token":             {},
	"internal/clock":    {"internal/stack"},
	"internal/metadata": {},
	"internal/duration": {},
	"internal/flags":    {"internal/duration"},
	"internal/sleep":    {},
	"internal/stack":    {},
	"internal/stats":    {},
	"client":            {},
	"client/session":    {"client", "client/session", "client/session/internal/object"},
	"examples/webapp":   {"client", "client/session"},
	"shard":             {"token", "internal/clock", "internal/metadata", "internal/sleep", "internal/stack", "internal/stats"},
	"access":            {},
	"server":            {"access", "token", "internal/metadata", "internal/duration", "internal/stack", "internal/stats"},
	"admin":             {"access", "admin/console", "internal/stack", "internal/stats"},
	"admin/console":     {"admin/sampler", "internal/stats"},
	"admin/sampler":     {"internal/stack", "internal/stats"},
	"durable":           {"token", "internal/clock", "internal/metadata", "internal/stack", "internal/stats", "shard"},
	"valkey":            {"token", "internal/metadata", "internal/stats"},
}

// outside has what a package may import from other modules, where that is limited.
var outside = map[string][]string{
	"token":             {},
	"access":            {},
	"internal/clock":    {"golang.org/x/sys/unix"},
	"internal/metadata": {"github.com/goccy/go-json"},
	"internal/duration": {},
	"internal/flags":    {"github.com/agnivade/levenshtein", "github.com/spf13/pflag"},
	"internal/stats":    {},
	"shard":             {},
	"client":            {}, // a module of its own: whoever imports it takes in nothing else
	"client/session":    {},
	"valkey":            {"github.com/redis/rueidis"},
}

func TestImportArrows(t *testing.T) {
	seen := make(map[string]bool)
	for file, imports := range sourceImports(t) {
		pkg, limited := packageOf(file)
		if !limited {
			continue
		}
		allowed := mayImport[pkg]
		seen[pkg] = true
		for _, imported := range imports {
			if other, ok := strings.CutPrefix(imported, module+"/"); ok && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s; %s may import %v of this module", file, other, pkg, allowed)
			}
			if limit, limited := outside[pkg]; limited && isForeign(imported) && !slices.Contains(limit, imported) {
				t.Errorf("%s imports %s; %s may import %v of other modules", file, imported, pkg, limit)
			}
		}
	}
	for pkg := range mayImport {
		if !seen[pkg] {
			t.Errorf("package %s has no source", pkg)
		}
	}
}

// packageOf returns the package of mayImport that a file is in, or in a package
// below it, and false for one that may import what it likes.
func packageOf(file string) (pkg string, limited bool) {
	for pkg = path.Dir(file); pkg != "."; pkg = path.Dir(pkg) {
		if _, limited = mayImport[pkg]; limited {
			return pkg, true
		}
		if slices.Contains(free, pkg) {
			return "", false
		}
	}
	return file, true // which mayImport has not: it may import nothing of this module
}

// free has the trees of packages that join others as they like.
var free = []string{"cmd", "bench", "deploy/check", "internal/storetest", "internal/svgplot", "internal/testneeds", "internal/testcert", "internal/clienttest", "internal/enginetest", "internal/faultproxy"}

func TestNoVaguePackageNames(t *testing.T) {
	for file := range sourceImports(t) {
		for dir := range strings.SplitSeq(path.Dir(file), "/") {
			if slices.Contains([]string{"util", "utils", "common", "types", "pkg", "helpers"}, dir) {
				t.Errorf("%s: the name %q says nothing", file, dir)
			}
		}
	}
}

// TestImportGroups: imports come in three groups, the standard library's, those of
// other modules, and this module's. goimports sorts each, and keeps groups apart
// that somebody has made.
func TestImportGroups(t *testing.T) {
	for _, file := range goFiles(t) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		last := 0
		for _, spec := range parsed.Imports {
			imported, group := strings.Trim(spec.Path.Value, `"`), 0
			switch {
			case strings.HasPrefix(imported, module+"/"):
				group = 2
			case isForeign(imported):
				group = 1
			}
			if group < last {
				t.Errorf("%s: %s is not in its group", file, imported)
			}
			last = group
		}
	}
}

// isForeign says whether a package is of another module: its path begins with a host.
func isForeign(imported string) bool {
	return strings.Contains(strings.Split(imported, "/")[0], ".")
}

// sourceImports returns what each source file but tests imports.
func sourceImports(t *testing.T) map[string][]string {
	t.Helper()
	imports := make(map[string][]string)
	for _, name := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			imports[name] = append(imports[name], strings.Trim(spec.Path.Value, `"`))
		}
	}
	return imports
}

// goFiles returns the paths of all Go files, from the root of the module on.
func goFiles(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(name, ".go") {
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestLockedSaysWhichLock: whoever calls a method that needs a lock finds in its
// comment which one.
func TestLockedSaysWhichLock(t *testing.T) {
	for file := range sourceImports(t) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && strings.HasSuffix(f.Name.Name, "Locked") && !strings.Contains(f.Doc.Text(), "requires") {
				t.Errorf("%s: the comment of %s does not say which lock it requires", file, f.Name.Name)
			}
		}
	}
}
