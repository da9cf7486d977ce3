package zigateota_test

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// project is the source of all packages without their tests, with the types of what is written in it.
// Packages from elsewhere are not read, so an expression whose type depends on one has none; that makes
// reading fast, and what the rules look for lies inside the project.
type project struct {
	files    fs.FS
	set      *token.FileSet
	packages map[string]*folder // by the folder's path, "." at the root
}

// folder is one package.
type folder struct {
	path   string
	all    int // files, those included that are built elsewhere
	files  []*ast.File
	types  *types.Package
	info   *types.Info
	opened bool // it is being read, or was
}

// readProject reads all packages below a folder.
func readProject(files fs.FS) (*project, error) {
	p := &project{files: files, set: token.NewFileSet(), packages: map[string]*folder{}}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir():
			return nil
		case name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		}
		return p.parse(name)
	})
	if err != nil {
		return nil, err
	}
	for _, f := range p.packages {
		p.check(f)
	}
	return p, nil
}

// parse reads the files of one folder that are built here.
func (p *project) parse(name string) error {
	entries, err := fs.ReadDir(p.files, name)
	if err != nil {
		return err
	}
	here := build.Default
	here.OpenFile = func(file string) (io.ReadCloser, error) { return p.files.Open(path.Clean(file)) }
	here.JoinPath = path.Join
	f := &folder{path: name}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		f.all++
		built, err := here.MatchFile(name, entry.Name())
		if err != nil {
			return err
		}
		if !built {
			continue
		}
		source, err := fs.ReadFile(p.files, path.Join(name, entry.Name()))
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(p.set, path.Join(name, entry.Name()), source,
			parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		f.files = append(f.files, file)
	}
	if len(f.files) > 0 {
		p.packages[name] = f
	}
	return nil
}

// check finds the types of a package, after those of the packages that it imports.
func (p *project) check(f *folder) {
	if f.opened {
		return
	}
	f.opened = true
	f.info = &types.Info{
		Types:      map[ast.Expr]types.TypeAndValue{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
		Uses:       map[*ast.Ident]types.Object{},
		Defs:       map[*ast.Ident]types.Object{},
	}
	config := types.Config{
		Importer: p,
		Error:    func(error) {}, // whatever comes from elsewhere is unknown
	}
	f.types, _ = config.Check(packagePath(f.path), p.set, f.files, f.info)
}

func packagePath(folder string) string {
	if folder == "." {
		return module
	}
	return module + "/" + folder
}

// Import returns a package of the project, or an empty one in the place of one from elsewhere.
func (p *project) Import(name string) (*types.Package, error) {
	if inside, ok := strings.CutPrefix(name, module+"/"); ok {
		f := p.packages[inside]
		if f == nil {
			return nil, fmt.Errorf("there is no package %s", name)
		}
		p.check(f)
		return f.types, nil
	}
	empty := types.NewPackage(name, path.Base(name))
	empty.MarkComplete()
	return empty, nil
}

// sorted lists the packages by their folders.
func (p *project) sorted() []*folder {
	var list []*folder
	for _, f := range p.packages {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *folder) int { return strings.Compare(a.path, b.path) })
	return list
}

// lookup finds what a package declares, by the folder's path, a dot and its name; it is nil where there is
// none.
func (p *project) lookup(name string) types.Object {
	dot := strings.LastIndexByte(name, '.')
	f := p.packages[name[:dot]]
	if f == nil {
		return nil
	}
	return f.types.Scope().Lookup(name[dot+1:])
}

// position is where something is, for people.
func (p *project) position(at token.Pos) string {
	place := p.set.Position(at)
	return fmt.Sprintf("%s:%d", place.Filename, place.Line)
}
