package library

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// What this package's methods fail with; ask with errors.Is. An error that is none of them is a fault of the
// machine, such as a full disk.
var (
	// ErrAccess: the image could not be had from its URL.
	ErrAccess = errors.New("cannot get the image")
	// ErrTooLarge: the download is larger than Options.MaxBytes. It is an ErrAccess.
	ErrTooLarge = fmt.Errorf("%w: it is too large", ErrAccess)
	// ErrPolicy: the URL, or one that it redirects to, is not allowed. It is an ErrAccess.
	ErrPolicy = fmt.Errorf("%w: its URL is not allowed", ErrAccess)
	// ErrValidation: what was downloaded is not the image it should be, or is damaged.
	ErrValidation = errors.New("the image is not valid")
	// ErrNotStored: there is no image with this SHA-256 in the store.
	ErrNotStored = errors.New("the image is not in the store")
	// ErrCorrupt: the stored image is damaged. It was set aside and is no longer in the store: it
	// is an ErrNotStored.
	ErrCorrupt = fmt.Errorf("%w: its file was damaged and has been set aside", ErrNotStored)
	// ErrIncompatibleDriverVersion: a newer driver has registered its image already.
	ErrIncompatibleDriverVersion = errors.New("a newer driver version is registered")
)

const (
	defaultMaxBytes     = 16 << 20
	defaultFetchTimeout = 2 * time.Minute
	defaultDirectorURL  = "http://director"
)

// Options say where a Library keeps its files and what it may fetch.
type Options struct {
	// Dir is the image folder, which is made where it is missing: file URLs reach below it, driver/ below it
	// serves controller URLs, and the store is in it.
	Dir      string
	MaxBytes int64 // largest download; 16 MiB where zero
	// AllowedHosts are the hosts that images may come from, such as "ota.example.com", "*.example.com" or
	// "10.0.0.5:8080"; an empty list allows all.
	AllowedHosts []string
	// FetchTimeout is the longest time without a byte, 2 minutes where it is zero; a whole download may
	// take 30 times that.
	FetchTimeout time.Duration
	// DirectorURL is what controller:// stands for when the file is not in the driver folder; where it is
	// empty, that is "http://director".
	DirectorURL string
	Authorities *x509.CertPool    // whose certificates https servers must have; nil for the system's
	Transport   http.RoundTripper // nil for one of the library's own, which alone heeds Authorities
	Logger      *slog.Logger      // nil to stay silent
}

// Library fetches images and keeps them. Its methods may be called from several goroutines.
type Library struct {
	options   Options
	director  *url.URL
	transport http.RoundTripper
	log       *slog.Logger
	storeDir  string

	fetching   chan struct{}     // has one for each of the images that are being fetched; see await
	validating sync.Mutex        // held while a file is unpacked and verified
	storing    sync.Mutex        // held while files of the store are written or removed
	mu         sync.RWMutex      // never held while a disk or the network is waited for
	images     map[string]Image  // by SHA-256
	downloads  map[string]string // the SHA-256 of the image in a download, by each of Image.Downloads
}

// Image is an image in the store. What it refers to is shared: do not change it.
type Image struct {
	SHA256 string // of the bytes that devices get, in lower-case hex: the key of the store
	Size   uint32 // of the same, in bytes
	Header otafile.Header
	// URL is where it was fetched from last, without user and password; it is empty when that
	// is no longer known.
	URL      string
	Wrapper  string // see otafile.File
	Warnings []string
	Checks   []otafile.Check // those of the download's digests first
	StoredAt time.Time

	// Downloads are the digests of the downloads that held this image, such as "sha512:" and hex: the image
	// may have come in several containers.
	Downloads []string
	// UnusedSince is since when nobody has referred to the image, as far as Sweep has seen; zero
	// while it is in use.
	UnusedSince time.Time
}

// Open opens the library in Options.Dir, which must have no other one open. It removes what an interrupted
// Fetch left behind, and sets stored files aside that are damaged; the logger is told.
func Open(options Options) (*Library, error) {
	l, err := newLibrary(options)
	if err != nil {
		return nil, fmt.Errorf("open image library: %w", err)
	}
	if err := os.MkdirAll(l.storeDir, 0o755); err != nil {
		return nil, fmt.Errorf("open image library: %w", err)
	}
	if err := l.scanStore(); err != nil {
		return nil, fmt.Errorf("open image library: %w", err)
	}
	return l, nil
}

// newLibrary makes a library without a look at the disk.
func newLibrary(options Options) (*Library, error) {
	if options.Dir == "" {
		return nil, errors.New("no folder is given")
	}
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, err
	}
	options.Dir = dir
	options.MaxBytes = cmp.Or(options.MaxBytes, defaultMaxBytes)
	options.FetchTimeout = cmp.Or(options.FetchTimeout, defaultFetchTimeout)
	director, err := url.Parse(cmp.Or(options.DirectorURL, defaultDirectorURL))
	if err != nil || !isHTTP(director) || director.Host == "" {
		return nil, fmt.Errorf("the director's URL must be http or https with a host, such as %s",
			defaultDirectorURL)
	}
	for _, pattern := range options.AllowedHosts {
		if _, err := path.Match(pattern, ""); err != nil || strings.TrimSpace(pattern) == "" {
			return nil, fmt.Errorf("%q is no host pattern; write them like ota.example.com or *.example.com",
				pattern)
		}
	}
	l := &Library{
		options:   options,
		director:  director,
		transport: options.Transport,
		log:       options.Logger,
		storeDir:  filepath.Join(dir, "store"),
		fetching:  make(chan struct{}, fetchesAtOnce),
		images:    map[string]Image{},
		downloads: map[string]string{},
	}
	if l.transport == nil {
		l.transport = newTransport(options.Authorities)
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	return l, nil
}

// Image returns the stored image with this SHA-256 (hex, lower case).
func (l *Library) Image(sha256 string) (Image, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	image, ok := l.images[sha256]
	return image, ok
}

// imageOf returns the stored image that one of these downloads held; the digests are as in Image.Downloads.
func (l *Library) imageOf(downloads ...string) (Image, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, digest := range downloads {
		if image, ok := l.images[l.downloads[digest]]; ok {
			return image, true
		}
	}
	return Image{}, false
}

// learn makes an image known, or known anew.
func (l *Library) learn(image Image) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.images[image.SHA256] = image
	for _, digest := range image.Downloads {
		l.downloads[digest] = image.SHA256
	}
}

// drop makes an image unknown.
func (l *Library) drop(sha256 string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, digest := range l.images[sha256].Downloads {
		delete(l.downloads, digest)
	}
	delete(l.images, sha256)
}

// Images returns all stored images, by manufacturer code, image type, file version and SHA-256.
func (l *Library) Images() []Image {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make([]Image, 0, len(l.images))
	for _, image := range l.images {
		all = append(all, image)
	}
	slices.SortFunc(all, func(a, b Image) int {
		return cmp.Or(
			cmp.Compare(a.Header.ManufacturerCode, b.Header.ManufacturerCode),
			cmp.Compare(a.Header.ImageType, b.Header.ImageType),
			cmp.Compare(a.Header.FileVersion, b.Header.FileVersion),
			cmp.Compare(a.SHA256, b.SHA256),
		)
	})
	return all
}
