package bongsu_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The size budget, in lines.
const (
	maxFile = 800
	maxFunc = 100 // not in tests
)

// pureForbids lists what the two lowest layers do not import: everything that waits, logs, draws or touches the machine.
var pureForbids = []string{
	"context", "log", "sync", "os", "net", "net/http", "syscall", "runtime", "math/rand", "crypto/rand",
	"golang.org/x/sys",
}

// pureAllows are the exceptions beneath a forbidden path.
var pureAllows = []string{"net/netip", "net/url"}

// readsClock are the functions of package time that look at the machine's clock, and waits those that wait by it.
var (
	readsClock = []string{"Now", "Since", "Until"}
	waits      = []string{"Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
)

// changesFirst are the builtins that change their first argument.
var changesFirst = []string{"delete", "clear", "copy"}

// rulebook says which packages there are and what each may do. Packages are named by their path within the module; "x/*"
// stands for every package directly below x.
type rulebook struct {
	module           string
	layers           map[string]int
	sideways         map[string][]string // package -> packages of its own layer that it may import
	owners           map[string][]string // import path, with all below it -> the only packages that may import it
	commandMayImport []int               // layers that cmd/* may import
	tellTime         []string            // packages that may call time.Now
	mutable          map[string][]string // package -> package-level variables that may be assigned; a reason belongs beside each
}

// source is one parsed file.
type source struct {
	name  string // path within the module
	test  bool
	lines int
	file  *ast.File
}

// check reads the module at root and returns its findings, sorted.
func (b rulebook) check(t *testing.T, root fs.FS) []string {
	t.Helper()
	fset := token.NewFileSet()
	packages, err := parseModule(fset, root)
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{book: b, fset: fset}
	for dir, files := range packages {
		for _, f := range files {
			c.checkSize(f)
		}
		product := slices.DeleteFunc(slices.Clone(files), func(f source) bool { return f.test })
		if len(product) == 0 {
			continue // tests only: they may import what they like
		}
		if _, ok := b.layerOf(dir); !ok {
			c.find(product[0].name, "package %s is in no layer: give it one in arch_test.go", dir)
			continue
		}
		c.checkPackageComment(dir, product)
		for _, f := range product {
			c.checkImports(dir, f)
			c.checkPurity(dir, f)
			c.checkClock(dir, f)
			c.checkInit(f)
		}
		c.checkGlobals(dir, product)
	}
	slices.Sort(c.findings)
	return c.findings
}

// parseModule parses every Go file of the module, by directory. Nested modules, testdata and what the go tool ignores are
// left out.
func parseModule(fset *token.FileSet, root fs.FS) (map[string][]source, error) {
	packages := map[string][]source{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name == "." {
				return nil
			}
			_, err := fs.Stat(root, path.Join(name, "go.mod"))
			if err == nil || base[0] == '.' || base[0] == '_' || base == "testdata" || base == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" || base[0] == '.' || base[0] == '_' {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		packages[path.Dir(name)] = append(packages[path.Dir(name)], source{
			name: name, test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(text, []byte("\n")), file: file,
		})
		return nil
	})
	return packages, err
}

type checker struct {
	book     rulebook
	fset     *token.FileSet
	findings []string
}

func (c *checker) find(at, format string, args ...any) {
	c.findings = append(c.findings, at+": "+fmt.Sprintf(format, args...))
}

func (c *checker) at(n ast.Node) string {
	p := c.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

func (b rulebook) layerOf(pkg string) (int, bool) {
	if l, ok := b.layers[pkg]; ok {
		return l, true
	}
	l, ok := b.layers[path.Dir(pkg)+"/*"]
	return l, ok
}

// listed reports whether pkg is in list, by name or by the pattern of its parent.
func listed(list []string, pkg string) bool {
	return slices.Contains(list, pkg) || slices.Contains(list, path.Dir(pkg)+"/*")
}

// under reports whether import path p is root or below it.
func under(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

func (c *checker) checkSize(f source) {
	if ast.IsGenerated(f.file) {
		return
	}
	if f.lines > maxFile {
		c.find(f.name, "%d lines; a file has at most %d: split it by what a reader looks for", f.lines, maxFile)
	}
	if f.test {
		return
	}
	for _, d := range f.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := c.fset.Position(fn.End()).Line - c.fset.Position(fn.Pos()).Line + 1; n > maxFunc {
			c.find(c.at(fn), "%s has %d lines; a function has at most %d", fn.Name.Name, n, maxFunc)
		}
	}
}

func (c *checker) checkPackageComment(dir string, files []source) {
	name := files[0].file.Name.Name
	want := "Package " + name + " "
	if name == "main" {
		want = "Command " + path.Base(dir) + " "
	}
	for _, f := range files {
		if f.file.Doc != nil && strings.HasPrefix(f.file.Doc.Text(), want) {
			return
		}
	}
	c.find(dir, "no package comment that begins with %q: purpose, invariant, limits", want)
}

func (c *checker) checkImports(dir string, f source) {
	own, _ := c.book.layerOf(dir)
	for _, spec := range f.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			c.find(c.at(spec), "import %s: %v", spec.Path.Value, err)
			continue
		}
		for root, allowed := range c.book.owners {
			if own != proof && under(p, root) && !under(c.book.module+"/"+dir, root) && !listed(allowed, dir) {
				c.find(c.at(spec), "%s may not import %s: only %v may", dir, p, allowed)
			}
		}
		target, ok := strings.CutPrefix(p, c.book.module+"/")
		if !ok {
			continue
		}
		theirs, ok := c.book.layerOf(target)
		switch {
		case !ok: // reported where that package is
		case own == command && !slices.Contains(c.book.commandMayImport, theirs):
			c.find(c.at(spec), "%s may not import %s: a command reaches it through app", dir, target)
		case theirs > own:
			c.find(c.at(spec), "%s (layer %d) may not import %s (layer %d): imports go downward", dir, own, target, theirs)
		case theirs == own && !listed(c.book.sideways[dir], target):
			c.find(c.at(spec), "%s may not import %s: same layer, and not listed in arch_test.go", dir, target)
		}
	}
}

// checkPurity keeps waiting, logging and the machine out of the two lowest layers. Package clock is where time comes from.
func (c *checker) checkPurity(dir string, f source) {
	if l, _ := c.book.layerOf(dir); l > rules {
		return
	}
	for _, spec := range f.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		for _, no := range pureForbids {
			if under(p, no) && !slices.Contains(pureAllows, p) {
				c.find(c.at(spec), "%s may not import %s: layers 0 and 1 are pure", dir, p)
				break
			}
		}
	}
	ast.Inspect(f.file, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.GoStmt:
			c.find(c.at(n), "%s may not start a goroutine: layers 0 and 1 are pure", dir)
		case *ast.ChanType, *ast.SelectStmt:
			c.find(c.at(n), "%s may not use channels: layers 0 and 1 are pure", dir)
		}
		return true
	})
	c.eachTimeUse(f, waits, func(at, fn string) { c.find(at, "%s may not use time.%s: layers 0 and 1 are pure", dir, fn) })
}

func (c *checker) checkClock(dir string, f source) {
	if listed(c.book.tellTime, dir) {
		return
	}
	c.eachTimeUse(f, readsClock, func(at, fn string) {
		c.find(at, "%s may not use time.%s: take a clock.Clock", dir, fn)
	})
}

// eachTimeUse calls fn for each mention of one of names of package time in f.
func (c *checker) eachTimeUse(f source, names []string, fn func(at, name string)) {
	local := ""
	for _, spec := range f.file.Imports {
		if spec.Path.Value == `"time"` {
			if local = "time"; spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	if local == "." {
		c.find(f.name, "package time is imported by dot, which hides who tells the time")
	}
	ast.Inspect(f.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && local != "" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local && slices.Contains(names, sel.Sel.Name) {
				fn(c.at(sel), sel.Sel.Name)
			}
		}
		return true
	})
}

func (c *checker) checkInit(f source) {
	for _, d := range f.file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			c.find(c.at(fn), "init function: what must happen is called by whoever needs it")
		}
	}
}

// checkGlobals finds package-level variables that change: assigned, counted, indexed into or deleted from in a function,
// handed out by address, or of a type that exists to be changed. A variable that is written once where it is declared
// (a sentinel error, a table, a regular expression, a metric's description) is none. A change through a method or an alias
// is not seen.
func (c *checker) checkGlobals(dir string, files []source) {
	// The checker is given empty packages for all imports: what matters here is which identifier means which variable, and
	// that needs no types of others.
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: emptyImporter{}, Error: func(error) {}, DisableUnusedImportCheck: true}
	var parsed []*ast.File
	for _, f := range files {
		parsed = append(parsed, f.file)
	}
	pkg, _ := conf.Check(dir, c.fset, parsed, info) // errors are expected: the imports are empty
	changed := func(at ast.Node, e ast.Expr) {
		if name, ok := globalBehind(pkg, info, e); ok && !slices.Contains(c.book.mutable[dir], name) {
			c.find(c.at(at), "%s changes the package-level variable %s: put it into a struct that somebody owns", dir, name)
		}
	}
	for _, f := range parsed {
		c.checkGlobalTypes(dir, f)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, lhs := range n.Lhs {
					changed(n, lhs)
				}
			case *ast.IncDecStmt:
				changed(n, n.X)
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					changed(n, n.Key)
					changed(n, n.Value)
				}
			case *ast.UnaryExpr:
				if _, ident := n.X.(*ast.Ident); ident && n.Op == token.AND {
					changed(n, n.X)
				}
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && slices.Contains(changesFirst, fn.Name) {
					changed(n, n.Args[0])
				}
			}
			return true
		})
	}
}

// checkGlobalTypes finds package-level variables of types that are there to be changed. sync.Pool is let pass: it holds
// nothing that anybody can observe.
func (c *checker) checkGlobalTypes(dir string, f *ast.File) {
	for _, d := range f.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit, *ast.FuncType:
				return false
			case *ast.ChanType:
				c.find(c.at(n), "%s has a package-level channel: put it into a struct that somebody owns", dir)
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if ok && (x.Name == "atomic" || x.Name == "sync" && n.Sel.Name != "Pool") {
					c.find(c.at(n), "%s has a package-level %s.%s: put it into a struct that somebody owns", dir, x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// globalBehind is the name of the package-level variable that assigning to e would change, of this package or another.
func globalBehind(pkg *types.Package, info *types.Info, e ast.Expr) (string, bool) {
	for {
		switch x := e.(type) { // what a call returns is nobody's variable
		case *ast.Ident:
			v, ok := info.Uses[x].(*types.Var)
			return x.Name, ok && v.Parent() == pkg.Scope()
		case *ast.SelectorExpr:
			if id, ok := x.X.(*ast.Ident); ok {
				if _, ok := info.Uses[id].(*types.PkgName); ok {
					return id.Name + "." + x.Sel.Name, true
				}
			}
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.UnaryExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return "", false
		}
	}
}

// emptyImporter answers every import with an empty package, named as its path suggests.
type emptyImporter struct{}

func (emptyImporter) Import(p string) (*types.Package, error) {
	name := path.Base(p)
	if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
		name = path.Base(path.Dir(p)) // a major version
	}
	pkg := types.NewPackage(p, strings.TrimSuffix(name, ".go"))
	pkg.MarkComplete()
	return pkg, nil
}

// lengthen repeats the line "REPEAT n text" n times.
func lengthen(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "REPEAT ")
		if !ok {
			out.WriteString(line)
			continue
		}
		count, what, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(strings.Repeat(what, n))
	}
	return out.Bytes()
}
