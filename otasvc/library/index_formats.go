package library

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// formatsRead tells people which formats of indexes are read.
const formatsRead = "the formats that are read are those of Zigbee2MQTT, zigpy, IKEA, LEDVANCE and Sonoff"

// indexFormat is a format of indexes.
type indexFormat struct {
	name string
	// marks are keys that all entries of this format have, and those of the formats before it have not.
	marks []string
	read  func(at *location, raw []byte) (Candidate, error)
}

// indexList is the formats that a list of images can have. The first one is that of a list without entries,
// and of one whose entries have no format's marks.
type indexList struct{ formats []indexFormat }

// arrays returns the formats of indexes that are an array.
func arrays() indexList {
	return indexList{[]indexFormat{
		{"Zigbee2MQTT", nil, zigbee2mqttEntry},
		{"Sonoff", []string{"fw_binary_url", "model_id"}, sonoffEntry},
		{"IKEA", []string{"fw_binary_url", "fw_type"}, ikeaEntry},
	}}
}

// objects returns the formats of indexes that are an object with an array under "firmwares".
func objects() indexList {
	return indexList{[]indexFormat{
		{"zigpy", nil, zigpyEntry},
		{"LEDVANCE", []string{"identity", "fullName"}, ledvanceEntry},
	}}
}

// formatOf returns the format of a list whose first entry is given: entries of different formats do not stand
// in one list.
func (l indexList) formatOf(raw []byte) (name string, read func(*location, []byte) (Candidate, error)) {
	var keys map[string]json.RawMessage
	_ = json.Unmarshal(raw, &keys) // what is no object has no marks, and its format's reader says so
	for _, f := range l.formats[1:] {
		if !slices.ContainsFunc(f.marks, func(mark string) bool { return keys[mark] == nil }) {
			return f.name, f.read
		}
	}
	return l.formats[0].name, l.formats[0].read
}

// zigbee2mqttEntry reads an entry of Zigbee2MQTT's format.
func zigbee2mqttEntry(at *location, raw []byte) (Candidate, error) {
	var e struct {
		FileVersion        *uint32 `json:"fileVersion"`
		FileSize           uint32  `json:"fileSize"`
		URL                string  `json:"url"`
		Path               string  `json:"path"` // zigpy's addition, for local indexes
		ImageType          *uint16 `json:"imageType"`
		ManufacturerCode   *uint16 `json:"manufacturerCode"`
		SHA512             string  `json:"sha512"`
		HeaderString       string  `json:"otaHeaderString"`
		ModelID            texts   `json:"modelId"`
		ManufacturerName   texts   `json:"manufacturerName"`
		ReleaseNotes       string  `json:"releaseNotes"`
		HardwareVersionMin *uint16 `json:"hardwareVersionMin"`
		HardwareVersionMax *uint16 `json:"hardwareVersionMax"`
		MinFileVersion     *uint32 `json:"minFileVersion"`
		MaxFileVersion     *uint32 `json:"maxFileVersion"`
	}
	if err := unmarshalEntry(raw, &e); err != nil {
		return Candidate{}, err
	}
	return at.candidate(listedEntry{
		manufacturerCode: e.ManufacturerCode,
		imageType:        e.ImageType,
		fileVersion:      e.FileVersion,
		size:             e.FileSize,
		url:              e.URL,
		path:             e.Path,
		sha512:           e.SHA512,
		title:            e.HeaderString,
		notes:            e.ReleaseNotes,
		limits: Limits{
			MinHardware: e.HardwareVersionMin, MaxHardware: e.HardwareVersionMax,
			MinCurrent: e.MinFileVersion, MaxCurrent: e.MaxFileVersion,
			ModelIDs: e.ModelID, ManufacturerNames: e.ManufacturerName,
		},
	})
}

// zigpyEntry reads an entry of zigpy's format.
func zigpyEntry(at *location, raw []byte) (Candidate, error) {
	var e struct {
		BinaryURL             string  `json:"binary_url"`
		Path                  string  `json:"path"`
		FileVersion           *uint32 `json:"file_version"`
		FileSize              uint32  `json:"file_size"`
		ImageType             *uint16 `json:"image_type"`
		ManufacturerID        *uint16 `json:"manufacturer_id"`
		Checksum              string  `json:"checksum"`
		ManufacturerNames     texts   `json:"manufacturer_names"`
		ModelNames            texts   `json:"model_names"`
		Changelog             string  `json:"changelog"`
		ReleaseNotes          string  `json:"release_notes"`
		MinHardwareVersion    *uint16 `json:"min_hardware_version"`
		MaxHardwareVersion    *uint16 `json:"max_hardware_version"`
		MinCurrentFileVersion *uint32 `json:"min_current_file_version"`
		MaxCurrentFileVersion *uint32 `json:"max_current_file_version"`
		Specificity           int32   `json:"specificity"`
	}
	if err := unmarshalEntry(raw, &e); err != nil {
		return Candidate{}, err
	}
	listed := listedEntry{
		manufacturerCode: e.ManufacturerID,
		imageType:        e.ImageType,
		fileVersion:      e.FileVersion,
		size:             e.FileSize,
		url:              e.BinaryURL,
		path:             e.Path,
		notes:            e.ReleaseNotes,
		limits: Limits{
			MinHardware: e.MinHardwareVersion, MaxHardware: e.MaxHardwareVersion,
			MinCurrent: e.MinCurrentFileVersion, MaxCurrent: e.MaxCurrentFileVersion,
			ModelIDs: e.ModelNames, ManufacturerNames: e.ManufacturerNames, Specificity: int(e.Specificity),
		},
	}
	if listed.notes == "" {
		listed.notes = e.Changelog
	}
	algorithm, sum, _ := strings.Cut(e.Checksum, ":")
	switch algorithm {
	case "sha3-256":
		listed.sha3 = sum
	case "sha256":
		listed.sha256 = sum
	case "sha512":
		listed.sha512 = sum
	case "":
	default:
		return Candidate{}, fmt.Errorf("its checksum is of the unknown kind %q", algorithm)
	}
	return at.candidate(listed)
}

// unmarshalEntry reads an entry into a struct, to which entry points.
func unmarshalEntry(raw []byte, entry any) error {
	if len(raw) > maxEntryBytes {
		return fmt.Errorf("it has %d bytes, at most %d are read", len(raw), maxEntryBytes)
	}
	if !bytes.HasPrefix(raw, []byte("{")) {
		return errors.New("it is no object")
	}
	if err := json.Unmarshal(raw, entry); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return fmt.Errorf("its %s must not be a %s", wrong.Field, wrong.Value)
		}
		return err
	}
	return nil
}

// texts is a list that an index may give as one text.
type texts []string

// UnmarshalJSON takes a string, an array of strings or null. It leaves out empty strings, which are no limit.
func (t *texts) UnmarshalJSON(b []byte) error {
	var many []string
	if bytes.HasPrefix(b, []byte(`"`)) {
		many = make([]string, 1)
		if err := json.Unmarshal(b, &many[0]); err != nil {
			return err
		}
	} else if json.Unmarshal(b, &many) != nil {
		return errors.New("one of its lists of names has an entry that is no text")
	}
	if len(many) > maxNames {
		return fmt.Errorf("it lists more than %d names", maxNames)
	}
	*t = slices.DeleteFunc(many, func(name string) bool { return name == "" })
	return nil
}
