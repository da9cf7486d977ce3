package library

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// What Fetch and Registry.Add fail with; ask with errors.Is.
var (
	// ErrAccess: the image could not be had from its URL.
	ErrAccess = errors.New("cannot get the image")
	// ErrTooLarge: the download is larger than Options.MaxBytes. It is an ErrAccess.
	ErrTooLarge = fmt.Errorf("%w: it is too large", ErrAccess)
	// ErrPolicy: the URL, or one that it redirects to, is not allowed. It is an ErrAccess.
	ErrPolicy = fmt.Errorf("%w: its URL is not allowed", ErrAccess)
	// ErrValidation: what was downloaded is not the image it should be, or is damaged.
	ErrValidation = errors.New("the image is not valid")
	// ErrIncompatibleDriverVersion: a newer driver has registered its image already.
	ErrIncompatibleDriverVersion = errors.New("a newer driver version is registered")
)

// Options say where a Library keeps its files and what it may fetch.
type Options struct {
	Dir          string            // the image folder: file URLs reach below it, the store is in it; made where it is missing
	MaxBytes     int64             // largest download; 16 MiB where zero
	AllowedHosts []string          // host patterns such as "ota.example.com" or "*.example.com"; empty allows all
	FetchTimeout time.Duration     // longest time without a byte; 2 minutes where zero
	DirectorURL  string            // what stands for controller:// when the file is not in Dir; "http://director" where empty
	Transport    http.RoundTripper // nil for one of the library's own
	Logger       *slog.Logger      // nil to stay silent
}

// Request is an image to fetch.
type Request struct {
	URL              string // http, https, file or controller://driver/<name>/<file>
	SHA256, SHA512   string // of the whole download, in hex, any case; empty for no check
	ManufacturerCode *uint16
	ImageType        *uint16 // this and ManufacturerCode must equal the file's where they are given
	Force            bool    // take the image even when one of its own checks fails
	// Progress is called as bytes arrive, from Fetch's goroutine; total is -1 while it is unknown. It may be nil.
	Progress func(done, total int64)
}

// Image is an image in the store.
type Image struct {
	SHA256   string // of the bytes that devices get, in lower-case hex: the key of the store
	Size     uint32 // of the same, in bytes
	Header   otafile.Header
	URL      string // where it was first fetched from, without a password
	Wrapper  string // see otafile.File
	Warnings []string
	Checks   []otafile.Check
	StoredAt time.Time
}
