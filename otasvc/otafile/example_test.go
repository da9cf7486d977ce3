package otafile_test

import (
	"errors"
	"fmt"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// lampFile makes a small OTA file: a header, an upgrade image of 32 bytes and an integrity code.
func lampFile() []byte {
	header := otafile.Header{
		ManufacturerCode: 0x117C,
		ImageType:        0x2101,
		FileVersion:      0x01000002,
		StackVersion:     2, // Zigbee Pro
	}
	copy(header.HeaderString[:], "lamp firmware")
	return otafile.Build(header, make([]byte, 32), otafile.WithIntegrityCode())
}

// A header tells which devices a file is for; the elements behind it are what the file consists of.
func ExampleParse() {
	f, err := otafile.Parse(lampFile())
	if err != nil {
		fmt.Println(err)
		return
	}
	h := f.Header
	fmt.Printf("%q is version 0x%08X for manufacturer code 0x%04X, image type 0x%04X\n",
		h.Title(), h.FileVersion, h.ManufacturerCode, h.ImageType)
	fmt.Printf("%d bytes, of which %d are the header\n", h.TotalSize, h.HeaderLength)
	for _, e := range f.Elements {
		fmt.Printf("tag 0x%04X: %d bytes at offset %d\n", e.Tag, e.Length, e.Offset)
	}
	// Output:
	// "lamp firmware" is version 0x01000002 for manufacturer code 0x117C, image type 0x2101
	// 116 bytes, of which 56 are the header
	// tag 0x0000: 32 bytes at offset 62
	// tag 0x0003: 16 bytes at offset 100
}

// Every error of Parse is one of the package's errors, with a text that says what was found.
func ExampleParse_error() {
	file := lampFile()
	_, err := otafile.Parse(file[:100])
	fmt.Println(errors.Is(err, otafile.ErrTruncated))
	fmt.Println(err)
	// Output:
	// true
	// the file is cut short: its header says 116 bytes, there are 100
}

// A header can be read without the file behind it.
func ExampleParseHeader() {
	h, err := otafile.ParseHeader(lampFile()[:56])
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(h.Title(), h.MinHardwareVersion == nil)
	// Output: lamp firmware true
}

// Verify finds the byte that was changed after the integrity code was computed.
func ExampleFile_Verify() {
	file := lampFile()
	for range 2 {
		f, err := otafile.Parse(file)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, check := range f.Verify() {
			fmt.Println(check.Name, check.Status)
		}
		file[70]++
	}
	// Output:
	// AES-MMO integrity code passed
	// AES-MMO integrity code failed
}
