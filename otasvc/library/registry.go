package library

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Registration is an image that a driver or a person has registered for devices.
type Registration struct {
	DriverTypeID     string    `json:"driverTypeId"` // empty for an image of one device alone
	DriverVersion    uint32    `json:"driverVersion"`
	ManufacturerCode uint16    `json:"mfgId"`
	ImageType        uint16    `json:"imageTypeId"`
	ImageVersion     uint32    `json:"imageVersion"`
	SHA256           string    `json:"sha256"` // key of the image in the store
	Size             uint32    `json:"size"`   // bytes
	URL              string    `json:"url"`
	Devices          []string  `json:"devices"` // EUIDs, sorted, never empty; the registry sets them
	AddedAt          time.Time `json:"addedAt"`
}

// Registry holds the registered images. Each driver type has one image for a manufacturer code and image
// type, which the devices that added it share. An image registered without a driver type belongs to one
// device alone.
//
// The zero value is empty and ready for use. A Registry has no lock: one goroutine must own it. It returns
// copies.
type Registry struct {
	registrations []Registration // oldest addition or replacement first
}

// Add registers an image for a device; r.Devices is ignored.
//
// Where the driver type (or, without one, the device) has an image of this manufacturer code and image type
// already, the new one replaces it for all its devices, and replaced is the old one. Adding the same image
// again changes nothing, whatever its AddedAt. Adding it for a further device is a change, but replaces
// nothing. A lower driver version than the registered one is an [ErrIncompatibleDriverVersion] and changes
// nothing.
func (r *Registry) Add(device string, add Registration) (changed bool, replaced *Registration, err error) {
	add.Devices = []string{device}
	i := slices.IndexFunc(r.registrations, func(old Registration) bool { return sharesPlace(&old, &add) })
	if i < 0 {
		r.registrations = append(r.registrations, add)
		return true, nil, nil
	}
	old := &r.registrations[i]
	if add.DriverVersion < old.DriverVersion {
		return false, nil, fmt.Errorf("%w: driver version %d is registered for manufacturer code 0x%04X, "+
			"image type 0x%04X%s; this one is %d",
			ErrIncompatibleDriverVersion, old.DriverVersion, old.ManufacturerCode, old.ImageType,
			ofDriver(old.DriverTypeID), add.DriverVersion)
	}
	at, known := slices.BinarySearch(old.Devices, device)
	if sameImage(old, &add) {
		if known {
			return false, nil, nil
		}
		old.Devices = slices.Insert(old.Devices, at, device)
		return true, nil, nil
	}
	before := *old
	add.Devices = slices.Clone(before.Devices)
	if !known {
		add.Devices = slices.Insert(add.Devices, at, device)
	}
	r.registrations = append(slices.Delete(r.registrations, i, i+1), add)
	return true, &before, nil
}

// Remove removes the registration that the device has for the image type, for all devices that share it, and
// returns it. Where there are several (of different driver types or manufacturer codes) it removes the one
// added last. ok is false where there is none.
func (r *Registry) Remove(device string, imageType uint16) (removed Registration, ok bool) {
	for i, registration := range slices.Backward(r.registrations) {
		if registration.ImageType == imageType && registration.has(device) {
			r.registrations = slices.Delete(r.registrations, i, i+1)
			return registration, true
		}
	}
	return Registration{}, false
}

// For returns the registrations that the device has, the one added last first.
func (r *Registry) For(device string) []Registration {
	var found []Registration
	for _, registration := range slices.Backward(r.registrations) {
		if registration.has(device) {
			found = append(found, registration.clone())
		}
	}
	return found
}

// All returns every registration, sorted by manufacturer code, image type, driver type and devices.
func (r *Registry) All() []Registration {
	all := make([]Registration, len(r.registrations))
	for i := range r.registrations {
		all[i] = r.registrations[i].clone()
	}
	slices.SortFunc(all, func(a, b Registration) int {
		return cmp.Or(
			cmp.Compare(a.ManufacturerCode, b.ManufacturerCode),
			cmp.Compare(a.ImageType, b.ImageType),
			cmp.Compare(a.DriverTypeID, b.DriverTypeID),
			slices.Compare(a.Devices, b.Devices),
		)
	})
	return all
}

// Len returns the number of registrations.
func (r *Registry) Len() int { return len(r.registrations) }

// Forget removes a device from every registration. It removes the registrations that had no other device, and
// returns them. changed reports whether any registration had the device.
func (r *Registry) Forget(device string) (removed []Registration, changed bool) {
	r.registrations = slices.DeleteFunc(r.registrations, func(registration Registration) bool {
		if len(registration.Devices) > 1 || !registration.has(device) {
			return false
		}
		removed = append(removed, registration)
		return true
	})
	for i := range r.registrations {
		devices := &r.registrations[i].Devices
		if at, known := slices.BinarySearch(*devices, device); known {
			*devices = slices.Delete(*devices, at, at+1)
			changed = true
		}
	}
	return removed, changed || len(removed) > 0
}

// MarshalJSON writes the registrations as an array, in the order of their addition.
func (r Registry) MarshalJSON() ([]byte, error) {
	if r.registrations == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(r.registrations)
}

// UnmarshalJSON reads what MarshalJSON wrote. It returns an error where [Registry.Restore] does.
func (r *Registry) UnmarshalJSON(b []byte) error {
	var entries []json.RawMessage
	if err := json.Unmarshal(b, &entries); err != nil {
		return fmt.Errorf("registered images: %w", err)
	}
	var read Registry
	for i, entry := range entries {
		if err := read.Restore(entry); err != nil {
			return fmt.Errorf("registered images: number %d: %w", i+1, err)
		}
	}
	*r = read
	return nil
}

// Restore adds a registration that MarshalJSON wrote, behind the others. It returns an error, and adds
// nothing, for one without a device and one that would replace another, which MarshalJSON does not write.
func (r *Registry) Restore(entry json.RawMessage) error {
	var registration Registration
	if err := json.Unmarshal(entry, &registration); err != nil {
		return err
	}
	slices.Sort(registration.Devices)
	registration.Devices = slices.Compact(registration.Devices)
	if len(registration.Devices) == 0 {
		return errors.New("it has no device")
	}
	if registration.DriverTypeID == "" && len(registration.Devices) > 1 {
		return fmt.Errorf("it has no driver type but %d devices", len(registration.Devices))
	}
	same := func(other Registration) bool { return sharesPlace(&other, &registration) }
	if slices.ContainsFunc(r.registrations, same) {
		return fmt.Errorf("there is one for the same image already%s", ofDriver(registration.DriverTypeID))
	}
	r.registrations = append(r.registrations, registration)
	return nil
}

// sharesPlace reports whether one of the two registrations replaces the other: both have the same driver type
// (or, without one, the same device), manufacturer code and image type. A registration without a driver type
// has exactly one device.
func sharesPlace(a, b *Registration) bool {
	return a.DriverTypeID == b.DriverTypeID && a.ManufacturerCode == b.ManufacturerCode &&
		a.ImageType == b.ImageType &&
		(a.DriverTypeID != "" || slices.Equal(a.Devices, b.Devices))
}

// sameImage reports whether two registrations that share a place differ only in their devices and time.
func sameImage(a, b *Registration) bool {
	return a.DriverVersion == b.DriverVersion && a.ImageVersion == b.ImageVersion &&
		a.SHA256 == b.SHA256 && a.Size == b.Size && a.URL == b.URL
}

// has reports whether the registration is for the device.
func (r *Registration) has(device string) bool {
	_, found := slices.BinarySearch(r.Devices, device)
	return found
}

// clone returns a copy that shares nothing with the registration.
func (r *Registration) clone() Registration {
	c := *r
	c.Devices = slices.Clone(r.Devices)
	return c
}

// ofDriver returns the end of a sentence that names the driver type; it is empty where there is none.
func ofDriver(driverTypeID string) string {
	if driverTypeID == "" {
		return ""
	}
	return fmt.Sprintf(" of driver type %q", driverTypeID)
}
