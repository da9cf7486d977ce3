package message

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// Words returns what a frame means, for people: the type's name, and the fields with their names. A frame
// that cannot be read is shown in hexadecimal, with the reason.
func (f Frame) Words(dir Direction) string {
	parse := ParseCommand
	payload := f.Payload
	if dir == FromDongle {
		parse = ParseMessage
		var err error
		if payload, _, err = f.Message(); err != nil {
			return fmt.Sprintf("%s: %v", f.Type.Name(), err)
		}
	}
	m, err := parse(f.Type, payload)
	if err != nil {
		return fmt.Sprintf("%s: %v: %x", f.Type.Name(), err, payload)
	}
	words := fieldWords(nil, reflect.ValueOf(m))
	if note := meaning(m); note != "" {
		words = append(words, note)
	}
	if len(words) == 0 {
		return f.Type.Name()
	}
	return f.Type.Name() + ": " + strings.Join(words, ", ")
}

// meaning returns in words what codes in a message stand for.
func meaning(m Message) string {
	switch m := m.(type) {
	case Status:
		return m.Request.Name() + ": " + m.Text()
	case Confirm:
		if m.Kind == TypeConfirmFailed {
			return RadioStatusText(m.Status)
		}
	case ExtendedStatus:
		return ExtendedStatusText(m.Code)
	case Attribute:
		return "value " + m.Value()
	case DataIndication:
		return indicationWords(m)
	}
	return ""
}

func indicationWords(m DataIndication) string {
	if m.Cluster == ClusterOTA {
		if q, ok := ParseQueryNextImage(m.Payload); ok {
			return "query next image: " + strings.Join(fieldWords(nil, reflect.ValueOf(q)), ", ")
		}
		if r, ok := ParseImageBlockRequest(m.Payload); ok {
			return fmt.Sprintf("image block request: offset %d, file version 0x%08x", r.Offset, r.FileVersion)
		}
		if r, ok := ParseUpgradeEndRequest(m.Payload); ok {
			return fmt.Sprintf("upgrade end request: status 0x%02x, file version 0x%08x",
				r.Status, r.FileVersion)
		}
	}
	var words []string
	for _, decoded := range m.Messages() {
		words = append(words,
			decoded.Type().Name()+": "+strings.Join(fieldWords(nil, reflect.ValueOf(decoded)), ", "))
	}
	return strings.Join(words, "; ")
}

// fieldWords appends the names and values of the fields of a struct, including those of embedded ones.
func fieldWords(words []string, v reflect.Value) []string {
	t := v.Type()
	if t.Kind() != reflect.Struct {
		return words
	}
	for i := range t.NumField() {
		field := t.Field(i)
		value := v.Field(i)
		switch {
		case field.Anonymous:
			words = fieldWords(words, value)
		case field.Name == "Kind", value.IsZero() && leftOut(field.Name, value.Kind()):
		default:
			words = append(words, fieldName(field.Name)+valueWords(field.Name, value))
		}
	}
	return words
}

// leftOut reports whether a field is left out where it is zero: flags, and fields that flags announce.
func leftOut(name string, kind reflect.Kind) bool {
	return kind == reflect.Bool || kind == reflect.Slice || name == "Announced" ||
		strings.HasSuffix(name, "IEEE")
}

// fieldName returns a name in words: "file version" for "FileVersion", "APS sequence" for "APSSequence".
func fieldName(name string) string {
	if name == "IDs" {
		return name
	}
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		startsWord := i > 0 && unicode.IsUpper(r) &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if startsWord {
			b.WriteByte(' ')
		}
		inAcronym := unicode.IsUpper(r) && (i+1 < len(runes) && unicode.IsUpper(runes[i+1]) ||
			i > 0 && unicode.IsUpper(runes[i-1]) && !startsWord)
		if unicode.IsUpper(r) && !inAcronym {
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// longestShown is how many bytes of data are shown.
const longestShown = 24

func valueWords(name string, v reflect.Value) string {
	switch value := v.Interface().(type) {
	case IEEE:
		return " " + value.String()
	case []byte:
		if len(value) > longestShown {
			return fmt.Sprintf(" of %d bytes, %s...", len(value), hex.EncodeToString(value[:longestShown]))
		}
		return " " + hex.EncodeToString(value)
	case [32]byte:
		return " " + strconv.Quote(strings.TrimRight(string(value[:]), "\x00"))
	case MsgType:
		return " " + value.String()
	}

	switch v.Kind() {
	case reflect.Bool:
		return ""
	case reflect.String:
		return " " + strconv.Quote(v.String())
	case reflect.Uint8:
		if strings.Contains(name, "Status") {
			return fmt.Sprintf(" 0x%02x", v.Uint())
		}
	case reflect.Uint16:
		return fmt.Sprintf(" 0x%04x", v.Uint())
	case reflect.Uint32:
		if strings.Contains(name, "Version") || strings.Contains(name, "Identifier") {
			return fmt.Sprintf(" 0x%08x", v.Uint())
		}
	case reflect.Slice:
		return sliceWords(v)
	}
	return fmt.Sprintf(" %v", v.Interface())
}

func sliceWords(v reflect.Value) string {
	if v.Len() == 0 {
		return " none"
	}
	var words []string
	for i := range v.Len() {
		if e := v.Index(i); e.Kind() == reflect.Struct {
			words = append(words, "("+strings.Join(fieldWords(nil, e), ", ")+")")
		} else {
			words = append(words, strings.TrimSpace(valueWords("", e)))
		}
	}
	return " " + strings.Join(words, " ")
}
