package httpapi

import (
	"embed"
	"io/fs"
	"net/http"
)

// files has the page, as it is served, and the description of the API.
//
//go:embed page openapi.json
var files embed.FS

// pagePolicy lets the page load its own files and talk to its own server, and nothing else: no script or
// style in the markup, no frame around it, and no text that becomes markup.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; " +
	"trusted-types 'none'"

// page serves the page at / and what belongs to it below /page/. Its links are relative, so that it works
// below a path of a reverse proxy, too.
func (s *Server) page() http.Handler {
	below, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	server := http.StripPrefix("/page", http.FileServerFS(below))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", pagePolicy)
		if r.URL.Path == "/" {
			http.ServeFileFS(w, r, below, "main.html")
			return
		}
		if r.URL.Path[len(r.URL.Path)-1] == '/' {
			http.NotFound(w, r) // no lists of files
			return
		}
		server.ServeHTTP(w, r)
	})
}

// getOpenAPI serves the description of the API.
func getOpenAPI(w http.ResponseWriter, r *http.Request) {
	b, err := files.ReadFile("openapi.json")
	if err != nil {
		panic(err) // it is part of the program
	}
	answer(w, http.StatusOK, jsonType, b)
}
