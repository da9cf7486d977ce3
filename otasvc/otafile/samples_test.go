package otafile_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// samples is a folder of vendors' files. They may not be passed on, so it is not in the repository.
const samples = "../../../shared/images"

func TestSamples(t *testing.T) {
	if _, err := os.Stat(samples); err != nil {
		t.Skip("the vendors' files are not here")
	}
	cases := []struct {
		file         string
		manufacturer uint16
		imageType    uint16
		version      uint32
		size         int
		wrapper      string
		trailing     int
		title        string
		tags         []uint16
		checks       []string
	}{
		{"10039874-1.0-TRADFRI-motion-sensor-2-2.0.022.ota.ota.signed", 0x117C, 0x11C8, 0x20022623, 186814, "IKEA signed", 0, "EBL tradfri_motion_sensor_2",
			[]uint16{0}, []string{"IKEA block digests passed", "IKEA signature notVerifiable", "Silicon Labs EBL CRC-32 passed"}},
		{"10F2-7B2A-0000-0005-02000230-m7b-r0.ota.zigbee", 0x10F2, 0x7B2A, 0x02000230, 113150, "", 0, "ubisys R0 2.0.0#e976528",
			[]uint16{0xF7BD, 0, 3}, []string{"AES-MMO integrity code passed"}},
		{"1141-0228-01383001-TS202PIR1.zigbee", 0x1141, 0x0228, 0x01383001, 127730, "", 0, "Tuya:TS202PIR1-z",
			[]uint16{0}, []string{"Telink CRC-32 passed"}},
		{"128b-0102-030103-700_nodon_sin_4_2_20_fw_power_V030103.zigbee", 0x128B, 0x0102, 0x00030103, 47452, "", 0, "nodon_sin2_stm32_ota",
			[]uint16{0, 3}, []string{"AES-MMO integrity code passed"}},
		{"128b-0102-10101-700_nodon_sin_2_fm_stm32_V10101.zigbee", 0x128B, 0x0102, 0x00010101, 27162, "", 0, "nodon_sin_stm32_ota",
			[]uint16{0}, nil},
		{"4512726-Firmware-35.ota", 0x1224, 0x04D2, 0x00000016, 144312, "", 0, "Encrypted GBL Z3SwitchSoc_sdk676",
			[]uint16{0}, []string{"Silicon Labs GBL CRC-32 passed"}},
		{"RDL2016091_1_E11-G13_V0.0.9_20170921_release.ota", 0x1160, 0x0003, 0x00000009, 116478, "", 0, "EBL ElementClassic_E11GX3",
			[]uint16{0}, []string{"Silicon Labs EBL CRC-32 passed"}},
		{"SAL2PU1_02015120_OTA.ota", 0x1078, 0x0026, 0x02015120, 155774, "", 4, "SAL2PU1_02015120_OTA ota image f",
			[]uint16{0}, []string{"Silicon Labs EBL CRC-32 passed", "Salus trailer CRC-32 passed"}},
		{"SN-TLSR8656-S60-01-v2.0.2.ota", 0x1286, 0x000B, 0x00002002, 147232, "", 0, "Telink OTA Sample Usage",
			[]uint16{0xF000}, nil},
		{"Switch-ATmega_0012.sbl-ota", 0x100B, 0x0109, 0x43007401, 240760, "Hue sbl-ota", 0, "",
			nil, nil},
		{"ZLL_HS_4f_GJ_Release_10.03.32.02.zigbee", 0x117A, 0xD001, 0x02320310, 133287, "", 0, "450727",
			[]uint16{0}, nil},
		{"ZLL_Plug01_OnOff_MK_0x01020509.ota", 0x110C, 0x0027, 0x01020509, 121680, "", 0, "NULL",
			[]uint16{0, 0xFF01, 0xFF3E, 0xFF46}, nil},
		{"mmwave_module_fw_V3_14_3.ota", 0x122F, 0x0104, 0x06030E03, 50238, "", 0, "LD6002B",
			[]uint16{0}, nil},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(samples, c.file))
			if err != nil {
				t.Fatal(err)
			}
			f, err := otafile.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			if at := bytes.Index(b, f.Image); at < 0 || at > 0 && c.wrapper != "IKEA signed" || !bytes.HasPrefix(f.Image, []byte{0x1E, 0xF1, 0xEE, 0x0B}) {
				t.Errorf("what is served is not a piece of the file; it is at %d", at)
			}
			h := f.Header
			if h.ManufacturerCode != c.manufacturer || h.ImageType != c.imageType || h.FileVersion != c.version || int(h.TotalSize) != c.size || len(f.Image) != c.size {
				t.Errorf("manufacturer code 0x%04X, image type 0x%04X, file version 0x%08X, %d of %d bytes", h.ManufacturerCode, h.ImageType, h.FileVersion, len(f.Image), h.TotalSize)
			}
			if f.Wrapper != c.wrapper || f.Trailing != c.trailing || h.Title() != c.title || h.Wildcard() || len(f.Warnings) != 0 {
				t.Errorf("wrapper %q, %d trailing, title %q, wildcard %v, warnings %q", f.Wrapper, f.Trailing, h.Title(), h.Wildcard(), f.Warnings)
			}
			var tags []uint16
			for _, e := range f.Elements {
				tags = append(tags, e.Tag)
			}
			if d := cmp.Diff(c.tags, tags); d != "" {
				t.Errorf("tags (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.checks, names(f.Verify())); d != "" {
				t.Errorf("checks (-want +got):\n%s", d)
			}
		})
	}
}
