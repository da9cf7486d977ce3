package library

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// The indexes of makers list the images of that maker alone. Their formats are documented nowhere; zigpy
// reads them (zigpy/ota/providers.py), and so does Zigbee2MQTT's collection of images (src/autodl).

// errGateway means that an entry is firmware of the maker's gateway.
var errGateway = errors.New("it is firmware of a gateway")

// Values in IKEA's indexes.
const (
	ikeaManufacturerCode = 0x117C
	ikeaDevice           = 2 // the fw_type of images for devices; others are for the gateway
)

// ikeaVersion finds the file version in the URL of an image: IKEA's newer index gives it nowhere else.
var ikeaVersion = regexp.MustCompile(`_v([0-9]+)_`)

// ikeaEntry reads an entry of IKEA's index for the gateway DIRIGERA, or of the older one for TRÅDFRI, which
// gives the version in two halves and the size of the image inside its signed container.
func ikeaEntry(at *location, raw []byte) (Candidate, error) {
	var e struct {
		BinaryURL      string  `json:"fw_binary_url"`
		ImageType      *uint16 `json:"fw_image_type"`
		Type           int     `json:"fw_type"`
		SHA3           string  `json:"fw_sha3_256"`
		ManufacturerID *uint16 `json:"fw_manufacturer_id"`
		VersionHigh    *uint16 `json:"fw_file_version_MSB"`
		VersionLow     *uint16 `json:"fw_file_version_LSB"`
		FileSize       uint32  `json:"fw_filesize"`
	}
	if err := unmarshalEntry(raw, &e); err != nil {
		return Candidate{}, err
	}
	if e.Type != ikeaDevice {
		return Candidate{}, errGateway
	}
	if e.ImageType != nil && ikeaBreaks(*e.ImageType) {
		return Candidate{}, fmt.Errorf("its image type 0x%04X is left out: "+
			"devices break with IKEA's image for it", *e.ImageType)
	}
	listed := listedEntry{
		manufacturerCode: e.ManufacturerID, imageType: e.ImageType, url: e.BinaryURL, sha3: e.SHA3,
		size: e.FileSize,
	}
	if listed.manufacturerCode == nil {
		code := uint16(ikeaManufacturerCode)
		listed.manufacturerCode = &code
	}
	switch found := ikeaVersion.FindStringSubmatch(e.BinaryURL); {
	case e.VersionHigh != nil && e.VersionLow != nil:
		version := uint32(*e.VersionHigh)<<16 | uint32(*e.VersionLow)
		listed.fileVersion = &version
	case found != nil:
		version, err := strconv.ParseUint(found[1], 10, 32)
		if err != nil {
			return Candidate{}, fmt.Errorf("the file version in its URL, %s, has more than 32 bits", found[1])
		}
		short := uint32(version)
		listed.fileVersion = &short
	}
	return at.candidate(listed)
}

// ikeaBreaks reports whether an image type is one whose image in IKEA's index makes devices unusable (zigpy,
// issue 1428).
func ikeaBreaks(imageType uint16) bool { return imageType == 0x2200 || imageType == 0x2206 }

// ledvanceDownload is where LEDVANCE's images are. The index gives no URLs.
const ledvanceDownload = "https://api.update.ledvance.com/v1/zigbee/firmwares/download"

// ledvanceEntry reads an entry of LEDVANCE's index.
func ledvanceEntry(at *location, raw []byte) (Candidate, error) {
	var e struct {
		Identity struct {
			Company *uint16 `json:"company"`
			Product *uint16 `json:"product"`
			Version struct {
				Major    uint32 `json:"major"`
				Minor    uint32 `json:"minor"`
				Build    uint32 `json:"build"`
				Revision uint32 `json:"revision"`
			} `json:"version"`
		} `json:"identity"`
		ReleaseNotes string `json:"releaseNotes"`
		SHA256       string `json:"shA256"`
		ProductName  string `json:"productName"`
		FullName     string `json:"fullName"` // product, file version in hex and name of the file
		Length       uint32 `json:"length"`
	}
	if err := unmarshalEntry(raw, &e); err != nil {
		return Candidate{}, err
	}
	_, rest, _ := strings.Cut(e.FullName, "/")
	digits, _, _ := strings.Cut(rest, "/")
	version, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		return Candidate{}, fmt.Errorf("there is no file version in its fullName %q", e.FullName)
	}
	short := uint32(version)
	listed := listedEntry{
		manufacturerCode: e.Identity.Company, imageType: e.Identity.Product, fileVersion: &short,
		size: e.Length, sha256: e.SHA256, title: e.ProductName, notes: e.ReleaseNotes,
	}
	if e.ProductName != "" {
		listed.limits.ModelIDs = []string{e.ProductName}
	}
	if e.Identity.Company != nil && e.Identity.Product != nil {
		v := e.Identity.Version
		listed.url = ledvanceDownload + "?" + url.Values{
			"Company": {strconv.Itoa(int(*e.Identity.Company))},
			"Product": {strconv.Itoa(int(*e.Identity.Product))},
			"Version": {fmt.Sprintf("%d.%d.%d.%d", v.Major, v.Minor, v.Build, v.Revision)},
		}.Encode()
	}
	return at.candidate(listed)
}

// sonoffEntry reads an entry of Sonoff's index.
func sonoffEntry(at *location, raw []byte) (Candidate, error) {
	var e struct {
		BinaryURL      string  `json:"fw_binary_url"`
		FileVersion    *uint32 `json:"fw_file_version"`
		FileSize       uint32  `json:"fw_filesize"`
		ImageType      *uint16 `json:"fw_image_type"`
		ManufacturerID *uint16 `json:"fw_manufacturer_id"`
		ModelID        texts   `json:"model_id"`
	}
	if err := unmarshalEntry(raw, &e); err != nil {
		return Candidate{}, err
	}
	return at.candidate(listedEntry{
		manufacturerCode: e.ManufacturerID,
		imageType:        e.ImageType,
		fileVersion:      e.FileVersion,
		size:             e.FileSize,
		url:              e.BinaryURL,
		limits:           Limits{ModelIDs: e.ModelID},
	})
}

// channelIndex returns the URL of the index that a channel file of zigpy's collection leads to. ok is false
// where the content is no channel file. The newest format that is read is taken.
func channelIndex(content []byte) (ref string, ok bool) {
	if len(content) > maxEntryBytes {
		return "", false
	}
	var channel struct {
		Schemas map[string]struct {
			URL string `json:"url"`
		} `json:"schemas"`
	}
	if err := json.Unmarshal(withoutMark(content), &channel); err != nil {
		return "", false
	}
	for _, schema := range []string{"zigpy_v2", "zigpy_v1", "z2m_v1"} {
		if ref = channel.Schemas[schema].URL; ref != "" {
			return ref, true
		}
	}
	return "", false
}
