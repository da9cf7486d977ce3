package sim_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

const otherType = imageType + 1

// otherImage is image for the other image type.
func otherImage(version uint32, size int) []byte {
	b := image(version, size)
	binary.LittleEndian.PutUint16(b[12:], otherType)
	return b
}

// queries are the image types that the devices have asked for images of, each with the endpoint that asked.
func queries(messages []received) (asked [][2]uint16) {
	for _, m := range of[message.DataIndication](messages) {
		if q, ok := message.ParseQueryNextImage(m.Payload); ok {
			asked = append(asked, [2]uint16{uint16(m.SrcEndpoint), q.ImageType})
		}
	}
	return asked
}

// Two OTA clients of a device ask each for its own image and get it, whether they are on two endpoints or ask
// one after the other at the same one. Their attributes are those of their endpoint.
func TestOtherClients(t *testing.T) {
	for name, tc := range map[string]struct {
		other      sim.ClientConfig
		endpoint   uint8
		attributes uint16 // image type that can be read at the other client's endpoint
		afterFirst bool
	}{
		"another endpoint":       {sim.ClientConfig{Endpoint: 2, ImageType: otherType, FileVersion: 5}, 2, otherType, false},
		"the same endpoint":      {sim.ClientConfig{ImageType: otherType, FileVersion: 5}, 1, imageType, false},
		"once the first is done": {sim.ClientConfig{ImageType: otherType, FileVersion: 5, AfterFirst: true}, 1, imageType, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := lampConfig()
				cfg.OtherClients = []sim.ClientConfig{tc.other}
				l := newLab(t, sim.Config{Devices: []sim.DeviceConfig{cfg}}, image(newVersion, 1000))
				defer l.stop()
				l.send(message.SetRawMode{Mode: message.RawModeHybrid})
				synctest.Wait()
				l.take()

				read := message.ReadAttributes{
					Target: target(lampAddr), Cluster: message.ClusterOTA, Direction: message.DirectionToClient,
					IDs: []uint16{message.AttrOTAImageType},
				}
				read.DstEndpoint = tc.endpoint
				l.send(read)
				time.Sleep(time.Second)
				synctest.Wait()
				got := of[message.Attribute](l.take())
				if len(got) != 1 || got[0].Endpoint != tc.endpoint || binary.BigEndian.Uint16(got[0].Data) != tc.attributes {
					t.Errorf("attributes %+v", got)
				}

				l.dongle.Device(lamp).Query()
				time.Sleep(time.Minute)
				synctest.Wait()
				want := [][2]uint16{{1, imageType}, {uint16(tc.endpoint), otherType}}
				if asked := queries(l.take()); tc.afterFirst && len(asked) != 1 || !tc.afterFirst && !slices.Equal(asked, want) {
					t.Errorf("it asked for %v", asked)
				}

				for _, im := range [][]byte{image(newVersion, 1000), otherImage(7, 900)} {
					l.image = im
					l.send(loadImage(im))
					for _, endpoint := range []uint8{1, tc.endpoint} {
						m := notify(lampAddr)
						m.DstEndpoint = endpoint
						l.send(m)
						time.Sleep(time.Minute)
						synctest.Wait()
					}
				}
				s := l.dongle.Device(lamp).Snapshot()
				if s.FileVersion != newVersion || !bytes.Equal(s.Installed, image(newVersion, 1000)) || s.Installs != 1 {
					t.Errorf("its own: version %#x, %d installed", s.FileVersion, s.Installs)
				}
				o := l.dongle.Device(lamp).OtherClients()[0]
				if o.FileVersion != 7 || !bytes.Equal(o.Installed, otherImage(7, 900)) || o.Installs != 1 || o.ImageType != otherType {
					t.Errorf("the other: version %#x, %d installed", o.FileVersion, o.Installs)
				}
			})
		})
	}
}
