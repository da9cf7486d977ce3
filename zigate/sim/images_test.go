package sim_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// Images of real devices arrive byte for byte, and a device takes them for what they are.
func TestRealImages(t *testing.T) {
	folder := filepath.Join("..", "..", "..", "shared", "images")
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no images here")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join(folder, entry.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if binary.LittleEndian.Uint32(file) != message.FileIdentifier {
				t.Skip("in a wrapper")
			}
			file = file[:binary.LittleEndian.Uint32(file[52:])]
			synctest.Test(t, func(t *testing.T) {
				header := loadImage(file)
				header.HeaderLength = binary.LittleEndian.Uint16(file[6:])
				device := lampConfig()
				device.ManufacturerCode, device.ImageType = header.ManufacturerCode, header.ImageType
				device.FileVersion = header.FileVersion - 1
				l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{device}}, file)
				defer l.stop()
				l.send(header)
				l.send(notify(lampAddr))
				time.Sleep(time.Second)
				synctest.Wait()
				if s := l.dongle.Device(lamp).Snapshot(); !bytes.Equal(s.Installed, file) {
					t.Errorf("not installed: %s, end status %#x", s.State, s.LastEndStatus)
				}
			})
		})
	}
}
