package otasvc

import (
	"context"
	"fmt"
	"maps"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
)

// cachedImage is an image in memory, shared by all upgrades that use it.
type cachedImage struct {
	sha256 string
	header otafile.Header
	data   []byte
	telink bool // its firmware is surely that of a Telink chip
}

// headerAs is the header with which the dongle offers the image under a file version.
func (im *cachedImage) headerAs(version uint32) otafile.Header {
	h := im.header
	h.FileVersion = version
	return h
}

// isFor reports whether there is an image, for devices of a manufacturer code and image type.
func (im *cachedImage) isFor(manufacturerCode, imageType uint16) bool {
	return im != nil && im.header.ManufacturerCode == manufacturerCode && im.header.ImageType == imageType
}

// imageMemory holds the images that upgrades use and that the dongle offers. It belongs to the owner
// goroutine; images are read on goroutines of their own.
type imageMemory struct {
	store  ImageStore
	async  func(work func(context.Context) func())
	images map[string]*cachedImage // by SHA-256; nil while an image is being read
}

// get returns an image that is in memory, or nil.
func (m *imageMemory) get(sha256 string) *cachedImage { return m.images[sha256] }

// state says whether an image is in memory.
func (m *imageMemory) state(sha256 string) slot.ImageState {
	im, asked := m.images[sha256]
	switch {
	case im != nil:
		return slot.ImageReady
	case asked:
		return slot.ImageReading
	default:
		return slot.ImageAbsent
	}
}

// put keeps an image in memory.
func (m *imageMemory) put(im *cachedImage) { m.images[im.sha256] = im }

// read reads an image from the store; done runs on the owner goroutine.
func (m *imageMemory) read(sha256 string, done func(*cachedImage, error)) {
	if m.images[sha256] == nil {
		m.images[sha256] = nil
	}
	m.async(func(context.Context) func() {
		im, err := readImage(m.store, sha256)
		return func() {
			switch {
			case err == nil:
				m.put(im)
			case m.images[sha256] == nil:
				delete(m.images, sha256)
			}
			done(im, err)
		}
	})
}

// load returns an image that is in memory, or reads it and waits for the disk.
func (m *imageMemory) load(sha256 string) (*cachedImage, error) {
	if im := m.get(sha256); im != nil {
		return im, nil
	}
	im, err := readImage(m.store, sha256)
	if err == nil {
		m.put(im)
	}
	return im, err
}

// drop frees the memory of the images that used does not name.
func (m *imageMemory) drop(used func(sha256 string) bool) {
	maps.DeleteFunc(m.images, func(sha256 string, im *cachedImage) bool { return im != nil && !used(sha256) })
}

// readImage reads an image and its header from the store. It waits for the disk.
func readImage(images ImageStore, sha256 string) (*cachedImage, error) {
	data, err := images.Load(sha256)
	if err != nil {
		return nil, err
	}
	header, err := otafile.ParseHeader(data)
	if err != nil {
		return nil, fmt.Errorf("stored image %s: %w", sha256, err)
	}
	image, _ := images.Image(sha256)
	return &cachedImage{sha256: sha256, header: header, data: data, telink: image.Telink}, nil
}
