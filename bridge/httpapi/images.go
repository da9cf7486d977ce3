package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// Images are the image store and the image folder.
type Images interface {
	// Folder returns what is in the image folder.
	Folder() *library.FolderState
	// Indexes returns the state of each index.
	Indexes() []library.IndexStatus
	// Add puts an image into the image folder, where it is not there yet.
	Add(context.Context, library.Added) (image library.FolderImage, isNew bool, err error)
	// RemoveAdded removes an image that Add put there.
	RemoveAdded(ctx context.Context, name string) error
}

const (
	maxAdditions  = 4               // at once; each takes as much memory as its image is large
	addTimeout    = 5 * time.Minute // for fetching an image
	uploadTimeout = 2 * time.Minute // for receiving an image in a request's body
)

// imageList has all images, and what keeps others from being used.
type imageList struct {
	Images  []json.RawMessage `json:"images"` // as on <base>/images
	Folder  []folderImage     `json:"folder"`
	Faults  []fault           `json:"faults"`
	Indexes []index           `json:"indexes"`
}

// folderImage is an image in the image folder.
type folderImage struct {
	Name             string           `json:"name"`  // of the file, below the folder
	Added            bool             `json:"added"` // whether this API added it and can remove it
	ManufacturerCode uint16           `json:"mfgId"`
	ImageType        uint16           `json:"imageTypeId"`
	ImageVersion     uint32           `json:"imageVersion"`
	Size             uint32           `json:"size"`
	SHA256           string           `json:"sha256"`
	Report           *contract.Report `json:"report"`
}

func newFolderImage(i library.FolderImage) folderImage {
	return folderImage{
		Name:             i.Name,
		Added:            i.Added(),
		ManufacturerCode: i.Header.ManufacturerCode,
		ImageType:        i.Header.ImageType,
		ImageVersion:     i.Header.FileVersion,
		Size:             i.Size,
		SHA256:           i.SHA256,
		Report:           bridge.NewReport(i.Wrapper, &i.Header, i.Warnings, i.Checks),
	}
}

// fault is a file in the image folder that cannot be used.
type fault struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

func (s *Server) getImages(w http.ResponseWriter, _ *http.Request) {
	e, ok := s.options.Feed.Get(bridge.FeedImages, "")
	if !ok {
		refuse(w, errStarting())
		return
	}
	body := imageList{Folder: []folderImage{}, Faults: []fault{}, Indexes: []index{}}
	if err := json.Unmarshal(e.Payload, &body); err != nil {
		refuse(w, &refusal{
			status: http.StatusInternalServerError, text: "reading the list of images: " + err.Error(),
		})
		return
	}
	folder := s.options.Images.Folder()
	for _, i := range folder.Images {
		body.Folder = append(body.Folder, newFolderImage(i))
	}
	for _, f := range folder.Faults {
		body.Faults = append(body.Faults, fault{Name: f.Name, Error: f.Err})
	}
	for _, i := range s.options.Images.Indexes() {
		body.Indexes = append(body.Indexes, newIndex(i))
	}
	answerJSON(w, http.StatusOK, body)
}

// imageURL says where an image lies that is to be fetched and added.
type imageURL struct {
	URL    string `json:"url"`
	SHA256 string `json:"sha256"`
	SHA512 string `json:"sha512"`
}

// addition is the answer to an image that was to be added.
type addition struct {
	Status contract.Status `json:"status"`
	Error  string          `json:"error,omitempty"`
	Image  *folderImage    `json:"image,omitempty"` // absent where it was not added
}

// postImage adds an image to the image folder: the body itself, or what is at the URL that a JSON body gives.
func (s *Server) postImage(w http.ResponseWriter, r *http.Request) {
	select {
	case s.additions <- struct{}{}:
		defer func() { <-s.additions }()
	default:
		refuse(w, &refusal{
			status: http.StatusServiceUnavailable,
			text:   fmt.Sprintf("%d images are being added, and no more are taken at once", maxAdditions),
			after:  5 * time.Second,
		})
		return
	}

	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(uploadTimeout)); err != nil {
		refuse(w, &refusal{status: http.StatusInternalServerError, text: err.Error()})
		return
	}

	added, no := s.readAddition(w, r)
	if no != nil {
		refuse(w, no)
		return
	}

	// What follows may take as long as a download does.
	err := control.SetReadDeadline(time.Time{})
	err = errors.Join(err, control.SetWriteDeadline(time.Now().Add(addTimeout+answerTimeout)))
	if err != nil {
		refuse(w, &refusal{status: http.StatusInternalServerError, text: err.Error()})
		return
	}

	ctx, cancel := context.WithTimeout(r.Context(), addTimeout)
	defer cancel()
	image, isNew, err := s.options.Images.Add(ctx, added)
	if err != nil {
		status := additionStatus(err)
		s.log.Info("an image was not added over HTTP", "status", status, "err", err)
		code := statusCode(status)
		switch {
		case errors.Is(err, library.ErrTooLarge):
			code = http.StatusRequestEntityTooLarge
		case errors.Is(err, library.ErrFolderFull):
			code = http.StatusInsufficientStorage
		}
		answerJSON(w, code, addition{Status: status, Error: err.Error()})
		return
	}

	code := http.StatusOK
	if isNew {
		code = http.StatusCreated
		s.log.Info("an image was added over HTTP", "file", image.Name)
		s.options.Feed.FilesChanged(time.Now())
	}
	shown := newFolderImage(image)
	answerJSON(w, code, addition{Status: contract.StatusSuccess, Image: &shown})
}

// readAddition reads the image, or the URL of the image, that is to be added.
func (s *Server) readAddition(w http.ResponseWriter, r *http.Request) (library.Added, *refusal) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	query := r.URL.Query()
	switch {
	case err == nil && kind == jsonType:
		b, no := readBody(w, r, maxSmallBody)
		if no != nil {
			return library.Added{}, no
		}
		var body imageURL
		if err := strict(b, &body); err != nil || body.URL == "" {
			return library.Added{}, &refusal{
				status: http.StatusBadRequest,
				text: `url: is required, in an object such as {"url":"https://…"}; ` +
					`sha256 and sha512 may stand beside it`,
			}
		}
		return library.Added{URL: body.URL, SHA256: body.SHA256, SHA512: body.SHA512}, nil
	case err == nil && (kind == "multipart/form-data" || kind == "application/x-www-form-urlencoded"):
		return library.Added{}, &refusal{
			status: http.StatusUnsupportedMediaType,
			text: "the body must be the file itself, with the header \"Content-Type: " +
				"application/octet-stream\", not a form",
		}
	}

	if r.ContentLength > s.options.MaxImageBytes {
		return library.Added{}, &refusal{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf(
			"the file has %d bytes; at most %d are allowed (ZIGATE_OTA_IMAGE_MAX_BYTES)",
			r.ContentLength, s.options.MaxImageBytes)}
	}

	data, no := readBody(w, r, s.options.MaxImageBytes)
	if no == nil && len(data) == 0 {
		no = &refusal{status: http.StatusBadRequest, text: "the body is empty; it must be the file itself"}
	}
	return library.Added{
		Name: query.Get("name"), Data: data, SHA256: query.Get("sha256"), SHA512: query.Get("sha512"),
	}, no
}

// additionStatus returns the status that says why an image was not added.
func additionStatus(err error) contract.Status {
	switch {
	case errors.Is(err, library.ErrAccess):
		return contract.StatusImageAccessFailed
	case errors.Is(err, library.ErrValidation):
		return contract.StatusImageValidationFailed
	default:
		return contract.StatusFailure
	}
}

// deleteImage removes an image that was added over the API.
func (s *Server) deleteImage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout/2)
	defer cancel()
	name := library.AddedName(r.PathValue("name"))
	switch err := s.options.Images.RemoveAdded(ctx, name); {
	case errors.Is(err, library.ErrNotAdded):
		refused := addition{Status: contract.StatusImageInfoNotFound, Error: err.Error()}
		answerJSON(w, http.StatusNotFound, refused)
	case err != nil:
		answerJSON(w, http.StatusConflict, addition{Status: contract.StatusFailure, Error: err.Error()})
	default:
		s.log.Info("an image that had been added was removed over HTTP", "file", name)
		s.options.Feed.FilesChanged(time.Now())
		answerJSON(w, http.StatusOK, addition{Status: contract.StatusSuccess})
	}
}

// index is the state of an index of images.
type index struct {
	Name    string     `json:"name"` // URL or path
	Format  string     `json:"format"`
	Images  int        `json:"images"`
	Skipped int        `json:"skipped"` // entries that cannot be used
	Problem string     `json:"problem"` // what is wrong with the first of those
	ReadAt  *time.Time `json:"readAt"`  // null where it was never read
	Error   string     `json:"error"`   // why it could not be read the last time; empty where it could
}

func newIndex(s library.IndexStatus) index {
	i := index{
		Name:    s.Name,
		Format:  s.Format,
		Images:  s.Images,
		Skipped: s.Skipped,
		Problem: s.Problem,
		Error:   s.Error,
	}
	if !s.ReadAt.IsZero() {
		at := s.ReadAt.UTC().Truncate(time.Second)
		i.ReadAt = &at
	}
	return i
}
