package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/otasvc/slot"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// filled is a value of which every exported part is known: no number is 0, no text empty, no list without an
// element.
func filled(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC)))
		return v
	case reflect.TypeFor[library.Image]():
		check := otafile.Check{Name: "a", Detail: "b", Expected: "c", Found: "d"}
		v.Set(reflect.ValueOf(library.Image{Checks: []otafile.Check{check}}))
		return v
	}
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		v.Elem().Set(filled(t.Elem()))
	case reflect.Slice:
		v.Set(reflect.Append(v, filled(t.Elem())))
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				v.Field(i).Set(filled(t.Field(i).Type))
			}
		}
	default:
		panic(fmt.Sprintf("there is no value of type %v that is known", t))
	}
	return v
}

// TestEverythingIsTold: where the service knows all, the payload has all of its keys, and none of them is
// null; and each thing that the service knows is told, but for what is named here.
func TestEverythingIsTold(t *testing.T) {
	told(t, func(r otasvc.InfoRecord) any { return newInfo("1.2.0", r) })
	told(t, func(r otasvc.RegisteredImage) any { return newRegisteredImage(r) },
		"Source", "ReleaseNotes", "MinHardware", "MaxHardware") // of an offer
	told(t, func(r otasvc.DeviceRecord) any { return newDevice(r) })
	told(t, func(r otasvc.OtherImage) any { return newOtherImage(r) })
	told(t, func(r otasvc.Offer) any { return newOffer(&r) },
		"ManufacturerCode", "ImageType", "Title", "MinHardware", "MaxHardware") // those of the device
	place := filled(reflect.TypeFor[slot.Place]()).Interface().(slot.Place)
	told(t, func(r upgrade.Record) any { return newUpgrade(&r, &place) })
	told(t, func(r slot.Place) any { return newPlace(&r) }, "Device")                // that of the record
	told(t, func(r upgrade.Past) any { return newPastUpgrade(r) }, "Pace", "SHA256") // they are for estimates and the policy
	told(t, func(r otasvc.Event) any { return newEvent(r) }, "Name")                 // by the topic
	told(t, func(r otasvc.Operation) any { return newOperationRecord(&r) })
	told(t, func(r otasvc.Answer) any { return newResponse("x", json.RawMessage(`"t"`), r) },
		"UpgradeResults", // or CheckResults
		"Kept")           // for who gives the answers
	told(t, func(r otasvc.CheckResult) any {
		return newResults(otasvc.Answer{CheckResults: []otasvc.CheckResult{r}}).Checks[0]
	})
	told(t, func(r otasvc.UpgradeResult) any {
		return newResults(otasvc.Answer{UpgradeResults: []otasvc.UpgradeResult{r}}).Upgrades[0]
	})
}

// told holds a payload against the record that it is made of.
func told[Record any](t *testing.T, payload func(Record) any, silent ...string) {
	t.Helper()
	full := filled(reflect.TypeFor[Record]())
	whole := contract.Marshal(payload(full.Interface().(Record)))
	if bytes.Contains(whole, []byte(":null")) && !bytes.Contains(whole, []byte(`"minHardwareVersion":null`)) {
		t.Errorf("a %T that is known has a null: %s", full.Interface(), whole)
	}
	typ := reflect.TypeOf(payload(full.Interface().(Record)))
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	for field := range slices.Values(reflect.VisibleFields(typ)) {
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if key != "" && !bytes.Contains(whole, []byte(`"`+key+`":`)) {
			t.Errorf("a %T that is known does not tell %s: %s", full.Interface(), key, whole)
		}
	}
	for field := range slices.Values(reflect.VisibleFields(full.Type())) {
		if !field.IsExported() || field.Anonymous || slices.Contains(silent, field.Name) {
			continue
		}
		less := reflect.New(full.Type()).Elem()
		less.Set(full)
		less.FieldByIndex(field.Index).SetZero()
		if bytes.Equal(contract.Marshal(payload(less.Interface().(Record))), whole) {
			t.Errorf("nothing tells the %s of a %T", field.Name, full.Interface())
		}
	}
}
