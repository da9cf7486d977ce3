package main

import (
	"context"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// maxInspected is the size of the largest file that is read, in bytes. Every image is far smaller.
const maxInspected = 64 << 20

// inspect shows what images are and what was verified of them, and shows traces of frames in words. It
// fails when something is wrong with one of them.
func (p *program) inspect(ctx context.Context, i commandline.Inspect) error {
	wrong := 0
	reason := ""
	for n, name := range i.Names {
		r := inspectOne(ctx, p.environ, name)
		var usage *commandline.UsageError
		if errors.As(r.err, &usage) {
			return r.err
		}
		if !r.OK {
			wrong++
			reason = r.Name + ": " + r.wrong()
		}
		if i.JSON {
			encoder := json.NewEncoder(p.stdout)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(r); err != nil {
				return err
			}
			continue
		}
		if n > 0 {
			fmt.Fprintln(p.stdout)
		}
		r.print(p.stdout)
	}

	switch wrong {
	case 0:
		return nil
	case 1:
		return errors.New(reason)
	default:
		return fmt.Errorf("something is wrong with %d of %d files", wrong, len(i.Names))
	}
}

// inspection is what was found out about one file; the JSON form is for scripts.
type inspection struct {
	Name     string             `json:"name"` // the argument, without password and query
	OK       bool               `json:"ok"`   // it is an image, and no check failed
	Error    string             `json:"error,omitempty"`
	Download *inspectedDownload `json:"download,omitempty"`
	Image    *inspectedImage    `json:"image,omitempty"`
	Header   *inspectedHeader   `json:"header,omitempty"`
	Elements []inspectedElement `json:"elements"` // this list and the next two are never null
	Warnings []string           `json:"warnings"`
	Checks   []otafile.Check    `json:"checks"`
	Frames   []inspectedFrame   `json:"frames,omitempty"` // only for a trace of ZiGate frames

	err error
}

// inspectedDownload is the file as it was downloaded; digests in requests and indexes are those of this
// file.
type inspectedDownload struct {
	Size    int    `json:"size"`              // bytes
	Wrapper string `json:"wrapper,omitempty"` // see otafile.File
	SHA256  string `json:"sha256"`
	SHA512  string `json:"sha512"`
	SHA3    string `json:"sha3-256"`
}

// inspectedImage is what devices get.
type inspectedImage struct {
	Size     int    `json:"size"` // bytes
	SHA256   string `json:"sha256"`
	Trailing int    `json:"trailing,omitempty"` // bytes behind it
}

// inspectedHeader is the header. The names are those of the MQTT contract where that has them.
type inspectedHeader struct {
	ManufacturerCode   uint16  `json:"mfgId"`
	ImageType          uint16  `json:"imageTypeId"`
	FileVersion        uint32  `json:"imageVersion"`
	Title              string  `json:"headerString"`
	HeaderVersion      uint16  `json:"headerVersion"`
	HeaderLength       uint16  `json:"headerLength"`
	FieldControl       uint16  `json:"fieldControl"`
	StackVersion       uint16  `json:"stackVersion"`
	TotalSize          uint32  `json:"totalImageSize"`
	CredentialVersion  *uint8  `json:"credentialVersion,omitempty"`
	Destination        *string `json:"destination,omitempty"` // EUI-64 as 0x and hex digits
	MinHardwareVersion *uint16 `json:"minHardwareVersion,omitempty"`
	MaxHardwareVersion *uint16 `json:"maxHardwareVersion,omitempty"`
}

type inspectedElement struct {
	Tag    uint16 `json:"tag"`
	Name   string `json:"name"`
	Offset uint32 `json:"offset"` // of the data from the header's first byte
	Length uint32 `json:"length"` // bytes
}

// inspectOne inspects a file, or what is at a URL.
func inspectOne(ctx context.Context, environ []string, name string) inspection {
	r := inspection{
		Name:     config.DisplayURL(name),
		Elements: []inspectedElement{},
		Warnings: []string{},
		Checks:   []otafile.Check{},
	}

	b, err := inspected(ctx, environ, name)
	if err != nil {
		return r.failed(err)
	}
	r.Download = inspectDownload(b)
	if isTrace(b) {
		return r.readTrace(b)
	}

	f, err := otafile.Parse(b)
	if err != nil {
		return r.failed(err)
	}
	f.Verify()
	r.Download.Wrapper = f.Wrapper
	sum := sha256.Sum256(f.Image)
	r.Image = &inspectedImage{Size: len(f.Image), SHA256: hex.EncodeToString(sum[:]), Trailing: f.Trailing}
	r.Header = inspectHeader(&f.Header)
	for _, e := range f.Elements {
		r.Elements = append(r.Elements, inspectedElement{
			Tag: e.Tag, Name: elementName(e.Tag), Offset: e.Offset, Length: e.Length,
		})
	}

	r.Warnings = append(r.Warnings, f.Warnings...)
	r.Checks = append(r.Checks, f.Checks...)
	r.OK = len(f.Failed()) == 0
	return r
}

// wrong says what is wrong in a few words.
func (r *inspection) wrong() string {
	if r.Error != "" {
		return r.Error
	}
	failed := 0
	for _, check := range r.Checks {
		if check.Status == otafile.Failed {
			failed++
		}
	}
	return counted(failed, "check failed", "checks failed")
}

func (r inspection) failed(err error) inspection {
	r.Error = err.Error()
	r.err = err
	return r
}

// inspected returns the bytes of a file, or what is at a URL. A URL is fetched as the service would do it,
// within the same limits, but is not kept.
func inspected(ctx context.Context, environ []string, name string) ([]byte, error) {
	if strings.Contains(name, "://") {
		cfg, err := loadConfig(environ)
		if err != nil {
			return nil, err
		}
		options, err := libraryOptions(cfg.Image, nil)
		if err != nil {
			return nil, err
		}
		return library.Download(ctx, options, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxInspected+1))
	if err == nil && len(b) > maxInspected {
		err = fmt.Errorf("it has more than %d bytes, which no image has", maxInspected)
	}
	return b, err
}

func inspectDownload(b []byte) *inspectedDownload {
	sum256 := sha256.Sum256(b)
	sum512 := sha512.Sum512(b)
	sum3 := sha3.Sum256(b)
	return &inspectedDownload{
		Size:   len(b),
		SHA256: hex.EncodeToString(sum256[:]),
		SHA512: hex.EncodeToString(sum512[:]),
		SHA3:   hex.EncodeToString(sum3[:]),
	}
}

func inspectHeader(h *otafile.Header) *inspectedHeader {
	shown := &inspectedHeader{
		ManufacturerCode:   h.ManufacturerCode,
		ImageType:          h.ImageType,
		FileVersion:        h.FileVersion,
		Title:              h.Title(),
		HeaderVersion:      h.HeaderVersion,
		HeaderLength:       h.HeaderLength,
		FieldControl:       h.FieldControl,
		StackVersion:       h.StackVersion,
		TotalSize:          h.TotalSize,
		CredentialVersion:  h.CredentialVersion,
		MinHardwareVersion: h.MinHardwareVersion,
		MaxHardwareVersion: h.MaxHardwareVersion,
	}
	switch {
	case h.Destination != nil:
		text := fmt.Sprintf("0x%016x", *h.Destination)
		shown.Destination = &text
	case h.ThreadDestination != nil:
		text := fmt.Sprintf("0x%x", *h.ThreadDestination)
		shown.Destination = &text
	}
	return shown
}

// elementName returns the name that the OTA upgrade cluster has for an element.
func elementName(tag uint16) string {
	switch tag {
	case otafile.TagUpgradeImage:
		return "upgrade image"
	case otafile.TagSignature:
		return "ECDSA signature"
	case otafile.TagCertificate:
		return "ECDSA signing certificate"
	case otafile.TagIntegrityCode:
		return "image integrity code"
	case otafile.TagPicture:
		return "picture data"
	case otafile.TagSignature283:
		return "ECDSA signature (283 bits)"
	case otafile.TagCertificate283:
		return "ECDSA signing certificate (283 bits)"
	}
	if tag >= otafile.TagManufacturer {
		return "the manufacturer's own"
	}
	return "reserved"
}
