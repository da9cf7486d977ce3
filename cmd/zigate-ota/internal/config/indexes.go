package config

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// noIndexes is the word for no index at all.
const noIndexes = "none"

// namedIndex is a public index that has a name here, so that nobody has to look its URL up.
type namedIndex struct{ name, url string }

// namedIndexes returns the public indexes that have a name.
func namedIndexes() []namedIndex {
	const (
		zigbee2mqtt = "https://raw.githubusercontent.com/Koenkk/zigbee-OTA/master/"
		zigpy       = "https://raw.githubusercontent.com/zigpy/zigpy-ota/release/version/stable.json"
	)
	return []namedIndex{
		{"zigbee2mqtt", zigbee2mqtt + "index.json"},
		{"zigbee2mqtt-old", zigbee2mqtt + "index1.json"},
		{"zigpy", zigpy},
		{"ikea", "https://fw.ota.homesmart.ikea.com/check/update/prod"},
		{"ledvance", "https://api.update.ledvance.com/v1/zigbee/firmwares/"},
		{"sonoff", "https://zigbee-ota.sonoff.tech/releases/upgrade.json"},
	}
}

// indexNames returns the names of public indexes.
func indexNames() []string {
	var names []string
	for _, index := range namedIndexes() {
		names = append(names, index.name)
	}
	return names
}

// ImageIndexes are index files, each a name of a public one, an http or https URL or a path.
type ImageIndexes []string

// Decode takes a list separated by commas, or the word for none.
func (i *ImageIndexes) Decode(text string) error {
	if strings.EqualFold(text, noIndexes) {
		*i = ImageIndexes{}
		return nil
	}
	list, err := decodeList(text, decodeIndex)
	if err != nil {
		return err
	}
	*i = list
	return nil
}

// decodeIndex checks one entry of the list.
func decodeIndex(entry string) (string, error) {
	scheme, _, isURL := strings.Cut(entry, "://")
	switch name := strings.ToLower(entry); {
	case isURL && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")):
		return decodeHTTPURL(entry)
	case isURL:
		return "", errors.New("does not begin with http:// or https://")
	case !printable(entry):
		return "", errors.New("holds characters that no path has")
	case slices.Contains(indexNames(), name):
		return name, nil
	case name == noIndexes:
		return "", fmt.Errorf("%q stands beside other indexes", noIndexes)
	case !strings.ContainsAny(entry, `./\`):
		return "", fmt.Errorf("%q is not the name of an index "+
			"(the path of a file is written with a slash, ./%s)", entry, entry)
	default:
		return entry, nil
	}
}

// Locations returns the URLs and paths of the indexes.
func (i ImageIndexes) Locations() []string {
	var locations []string
	for _, entry := range i {
		named := slices.IndexFunc(namedIndexes(), func(n namedIndex) bool { return n.name == entry })
		if named >= 0 {
			entry = namedIndexes()[named].url
		}
		locations = append(locations, entry)
	}
	return locations
}

// String returns the list without passwords and queries.
func (i ImageIndexes) String() string {
	if len(i) == 0 {
		return noIndexes
	}
	return displayURLs(i)
}

// Format is String, whatever the verb.
func (i ImageIndexes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, i.String()) }

// MarshalText is String: what shows a configuration must not show more than that.
func (i ImageIndexes) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// MakerAliases are pairs of names of manufacturers that mean the same.
type MakerAliases [][2]string

// Decode takes pairs of names with an equals sign between them, separated by commas.
func (m *MakerAliases) Decode(text string) error {
	pairs, err := decodeList(text, func(entry string) (string, error) {
		name, other, found := strings.Cut(entry, "=")
		switch {
		case !found || strings.Contains(other, "="):
			return "", fmt.Errorf("%q is not two names with an equals sign between them", entry)
		case strings.TrimSpace(name) == "" || strings.TrimSpace(other) == "":
			return "", fmt.Errorf("%q lacks a name", entry)
		case !printable(entry):
			return "", errors.New("holds characters that no name has")
		}
		return strings.TrimSpace(name) + "=" + strings.TrimSpace(other), nil
	})
	if err != nil {
		return err
	}
	*m = nil
	for _, pair := range pairs {
		name, other, _ := strings.Cut(pair, "=")
		*m = append(*m, [2]string{name, other})
	}
	return nil
}

// String returns the list as Decode takes it.
func (m MakerAliases) String() string {
	var pairs []string
	for _, pair := range m {
		pairs = append(pairs, pair[0]+"="+pair[1])
	}
	return strings.Join(pairs, ",")
}
