package otafile

import "fmt"

// Status is the outcome of a check.
type Status int

// Outcomes of a check. NotVerifiable is no failure.
const (
	// NotVerifiable means that there is something to check, but no way to do it, such as a signature whose
	// key only the vendor has.
	NotVerifiable Status = iota
	Passed               // what the file says and what was computed are equal
	Failed               // they differ, or the firmware is cut short
)

var statusNames = [...]string{NotVerifiable: "notVerifiable", Passed: "passed", Failed: "failed"}

// String returns "passed", "failed" or "notVerifiable".
func (s Status) String() string {
	if s < 0 || int(s) >= len(statusNames) {
		return fmt.Sprintf("Status(%d)", int(s))
	}
	return statusNames[s]
}

// MarshalText returns what String does.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote, and returns an error for any other text.
func (s *Status) UnmarshalText(text []byte) error {
	for i, name := range statusNames {
		if name == string(text) {
			*s = Status(i)
			return nil
		}
	}
	return fmt.Errorf("unknown check status %q", text)
}

// Check is one verification of a file's integrity.
type Check struct {
	Name     string `json:"name"` // short and stable, one of the Check constants
	Status   Status `json:"status"`
	Detail   string `json:"detail,omitempty"`   // for people, where there is more to say
	Expected string `json:"expected,omitempty"` // what the file says, in hex
	Found    string `json:"found,omitempty"`    // what was computed, in hex
}

// String returns a sentence for people.
func (c Check) String() string {
	s := c.Name + " " +
		map[Status]string{NotVerifiable: "cannot be verified", Passed: "passed", Failed: "failed"}[c.Status]
	if c.Status == Failed && (c.Expected != "" || c.Found != "") {
		s += fmt.Sprintf(": expected %s, found %s", c.Expected, c.Found)
	}
	if c.Detail != "" {
		s += " (" + c.Detail + ")"
	}
	return s
}

// Names of checks. They are shown to people and kept in the store, so they do not change.
const (
	CheckIntegrityCode = "AES-MMO integrity code"
	CheckGBL           = "Silicon Labs GBL CRC-32"
	CheckEBL           = "Silicon Labs EBL CRC-32"
	CheckEncryptedEBL  = "Silicon Labs encrypted EBL CRC-32"
	CheckTelink        = "Telink CRC-32"
	CheckXZ            = "XZ stream"
	CheckBouffalo      = "Bouffalo Lab SHA-256"
	CheckZlib          = "zlib Adler-32"
	CheckESP32         = "ESP32 image SHA-256"
	CheckOAD           = "TI OAD CRC-32"
	CheckIKEA          = "IKEA block digests"
	CheckIKEASignature = "IKEA signature"
	CheckThirdReality  = "ThirdReality SHA-512"
	CheckSalusArchive  = "Salus archive MD5"
	CheckSalus         = "Salus trailer CRC-32"
	CheckSDevices      = "SDevices trailer CRC-32"
	CheckSignature     = "ECDSA signature"
)

// compare returns a check that passes when both texts are equal.
func compare(name, expected, found string) Check {
	c := Check{Name: name, Status: Failed, Expected: expected, Found: found}
	if expected == found {
		c.Status = Passed
	}
	return c
}

// merge joins the checks that have name and outcome in common into one: some files have 175 elements with a
// checksum each. The first stays and says how many elements it stands for.
func merge(checks []Check) []Check {
	type kind struct {
		name   string
		status Status
	}
	var merged []Check
	count := map[kind]int{}
	first := map[kind]int{}
	for _, c := range checks {
		k := kind{c.Name, c.Status}
		if count[k]++; count[k] == 1 {
			first[k] = len(merged)
			merged = append(merged, c)
		}
	}
	for k, n := range count {
		if n == 1 {
			continue
		}
		c := &merged[first[k]]
		if c.Status == Passed {
			*c = Check{Name: c.Name, Status: Passed, Detail: fmt.Sprintf("%d elements", n)}
			continue
		}
		if c.Detail != "" {
			c.Detail += "; "
		}
		c.Detail += fmt.Sprintf("the first of %d elements", n)
	}
	return merged
}
