package library

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
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

// The errors of this package; test for them with errors.Is. Any other error is a fault of the machine, such
// as a full disk.
var (
	// ErrAccess means that the image could not be read or downloaded from its URL.
	ErrAccess = errors.New("cannot get the image")
	// ErrTooLarge means that the download is larger than Options.MaxBytes. It is an ErrAccess.
	ErrTooLarge = fmt.Errorf("%w: it is too large", ErrAccess)
	// ErrPolicy means that the URL, or one that it redirects to, is not allowed. It is an ErrAccess.
	ErrPolicy = fmt.Errorf("%w: its URL is not allowed", ErrAccess)
	// ErrWithheld means that the service was restarted while the image was being fetched, and that its URL
	// had more than [PublicURL] leaves, which alone was kept. It is an ErrAccess.
	ErrWithheld = fmt.Errorf("%w: the service was restarted while it was being fetched, and keeps no "+
		"address that has a password or a query; ask again", ErrAccess)
	// ErrValidation means that the download is damaged, is no OTA file or is another image than was asked
	// for.
	ErrValidation = errors.New("the image is not valid")
	// ErrNotStored means that there is no image with this SHA-256 in the store.
	ErrNotStored = errors.New("the image is not in the store")
	// ErrCorrupt means that the stored image is damaged. It was set aside and is no longer in the store, so
	// this is an ErrNotStored.
	ErrCorrupt = fmt.Errorf("%w: its file was damaged and has been set aside", ErrNotStored)
	// ErrIncompatibleDriverVersion means that a newer version of the driver has registered its image already.
	ErrIncompatibleDriverVersion = errors.New("a newer driver version is registered")
)

const (
	defaultMaxBytes     = 16 << 20
	defaultFetchTimeout = 2 * time.Minute
	defaultDirectorURL  = "http://director"
)

// Options say where a Library keeps its files and what it may fetch.
type Options struct {
	// Dir is the image folder. Open makes it where it is missing. File URLs lead to files below it, the
	// folder driver below it serves controller URLs, and the store is in it.
	Dir      string
	MaxBytes int64 // largest download in bytes; 0 stands for 16 MiB
	// AllowedHosts are the hosts that images may come from, such as "ota.example.com", "*.example.com" or
	// "10.0.0.5:8080"; an empty list allows all. A host that is named without a pattern may be in a private
	// network, whatever its name.
	AllowedHosts []string
	// FetchTimeout is the longest time without a byte; 0 stands for 2 minutes. A whole download may take 30
	// times as long.
	FetchTimeout time.Duration
	// DirectorURL replaces "controller:/" in the URL of a file that is not in the driver folder. An empty one
	// stands for "http://director".
	DirectorURL string
	Authorities *x509.CertPool // signers of https servers' certificates; nil for those of the system
	// Transport is nil for the library's own. Only that one uses Authorities and Resolver, and looks at the
	// addresses that names lead to.
	Transport http.RoundTripper
	Resolver  *net.Resolver // nil for that of the system
	Logger    *slog.Logger  // may be nil
}

// Library fetches images and keeps them. Its methods may be called from several goroutines.
type Library struct {
	options  Options
	director *url.URL
	log      *slog.Logger
	storeDir string

	fetching   chan struct{}     // holds one value for each image that is being fetched; see await
	validating sync.Mutex        // held while a file is unpacked and verified
	storing    sync.Mutex        // held while files of the store are written or removed
	mu         sync.RWMutex      // guards images and downloads; not held during input or output
	images     map[string]Image  // by SHA-256
	downloads  map[string]string // the SHA-256 of the image in a download, by each of Image.Downloads
}

// Image is an image in the store. Its slices are shared, so callers must not change them.
type Image struct {
	SHA256 string // digest of the bytes that devices get, in lower-case hex; the key of the store
	Size   uint32 // number of the same bytes
	Header otafile.Header
	// URL is where the image was fetched from last, without user and password. It is empty when that is no
	// longer known.
	URL      string
	Wrapper  string // the container that the image came in, as in otafile.File
	Warnings []string
	Checks   []otafile.Check // those of the download's digests first
	StoredAt time.Time
	Chip     otafile.Chip // that the firmware is surely for, see otafile.File.Chip

	// Downloads are the digests of the downloads that held this image, such as "sha512:" and hex: the image
	// may have come in several containers.
	Downloads []string
	// UnusedSince is when Sweep first found the image unused. It is zero while the image is in use.
	UnusedSince time.Time
}

// Open opens the library in Options.Dir, where no other library may be open. It removes what an interrupted
// Fetch left behind and sets damaged files of the store aside; it logs both.
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

// newLibrary makes a library and reads nothing from the disk.
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
		log:       options.Logger,
		storeDir:  filepath.Join(dir, "store"),
		fetching:  make(chan struct{}, fetchesAtOnce),
		images:    map[string]Image{},
		downloads: map[string]string{},
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

// imageOf returns the stored image that came in one of these downloads, given by their digests as in
// Image.Downloads.
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

// learn adds an image to those that are known, or replaces what was known of it.
func (l *Library) learn(image Image) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.images[image.SHA256] = image
	for _, digest := range image.Downloads {
		l.downloads[digest] = image.SHA256
	}
}

// drop forgets an image. Its file stays.
func (l *Library) drop(sha256 string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, digest := range l.images[sha256].Downloads {
		delete(l.downloads, digest)
	}
	delete(l.images, sha256)
}

// Images returns all stored images, sorted by manufacturer code, image type, file version and SHA-256.
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
