package upgrade

// Reason says why an upgrade did not succeed, or why a request for one was refused. The strings are part of
// the MQTT contract.
type Reason string

// Every reason that a failed or cancelled upgrade, or a refused request, can have.
const (
	NoReason                Reason = ""
	ReasonUpToDate          Reason = "upToDate"
	ReasonDowngradeRefused  Reason = "downgradeRefused"
	ReasonAlreadyQueued     Reason = "alreadyQueued"
	ReasonTooLate           Reason = "tooLate" // the device installs already; of a cancel, not of an upgrade
	ReasonImageInfoNotFound Reason = "imageInfoNotFound"
	// ReasonImageAccessFailed: the image cannot be fetched, or may not be.
	ReasonImageAccessFailed Reason = "imageAccessFailed"
	// ReasonImageValidationFailed: what was fetched is no image, is damaged, or is not the one that was
	// meant.
	ReasonImageValidationFailed Reason = "imageValidationFailed"
	// ReasonHardwareMismatch: the image is for other hardware versions than the device's.
	ReasonHardwareMismatch  Reason = "hardwareMismatch"
	ReasonNoResponse        Reason = "noResponse"        // never asked for the image
	ReasonStalled           Reason = "stalled"           // stopped asking for blocks
	ReasonDeviceAborted     Reason = "deviceAborted"     // upgrade end with ZCL status 0x95
	ReasonInvalidImage      Reason = "invalidImage"      // upgrade end with ZCL status 0x96
	ReasonRequireMoreImages Reason = "requireMoreImages" // upgrade end with ZCL status 0x99
	ReasonVersionUnchanged  Reason = "versionUnchanged"  // came back with the old version
	ReasonNotRejoined       Reason = "notRejoined"       // never came back
	ReasonCancelled         Reason = "cancelled"
	ReasonImageRemoved      Reason = "imageRemoved"
	ReasonDongleLost        Reason = "dongleLost"
	ReasonDongleRefuses     Reason = "dongleRefuses" // the dongle took no blocks
	ReasonCanaryFailed      Reason = "canaryFailed"  // the first device of this image failed
	ReasonBatteryLow        Reason = "batteryLow"
	ReasonExcluded          Reason = "excluded" // a person has excluded the device from upgrades
)

// Explain is one sentence for a person on what the reason means and what can be done.
func (r Reason) Explain() string {
	switch r {
	case ReasonUpToDate:
		return "the device already runs this version; say \"force\": true to install it again"
	case ReasonDowngradeRefused:
		return "the image is older than what the device runs; " +
			"say \"allowDowngrade\": true to install it all the same"
	case ReasonAlreadyQueued:
		return "the device already has an upgrade under way; cancel it first"
	case ReasonTooLate:
		return "the device installs the image already, which nothing can stop; how that ends is told as ever"
	case ReasonImageInfoNotFound:
		return "no image that fits this device is registered; add one with add_image or give a url"
	case ReasonImageAccessFailed:
		return "the image cannot be fetched; check its url, and that this machine reaches it"
	case ReasonImageValidationFailed:
		return "what was fetched is no image, is damaged, or is not the one that was meant"
	case ReasonHardwareMismatch:
		return "the image is for other hardware versions than the device's; " +
			"say \"force\": true to install it all the same"
	case ReasonNoResponse:
		return "the device never asked for the image; check that it is powered, awake and in reach"
	case ReasonStalled:
		return "the device stopped asking for blocks; check its power and radio link and try again"
	case ReasonDeviceAborted:
		return "the device gave the download up (status 0x95); " +
			"try again, nearer to the dongle if it happens again"
	case ReasonInvalidImage:
		return "the device received the whole image and called it invalid (status 0x96); " +
			"it still runs its old version"
	case ReasonRequireMoreImages:
		return "the device needs a further image before it can install this one (status 0x99)"
	case ReasonVersionUnchanged:
		return "the device restarted into its old version"
	case ReasonNotRejoined:
		return "the device was not seen again after the download; switch it off and on"
	case ReasonCancelled:
		return "the upgrade was cancelled"
	case ReasonImageRemoved:
		return "the image was removed while the upgrade was under way"
	case ReasonDongleLost:
		return "the dongle was lost"
	case ReasonDongleRefuses:
		return "the dongle took no blocks; pull it out and put it back, " +
			"or take its power away for a moment, and try again"
	case ReasonCanaryFailed:
		return "how the first device of this image ended speaks against the image, so the others were not " +
			"started; say \"force\": true to install it all the same"
	case ReasonExcluded:
		return "the device is excluded from upgrades; say \"force\": true to upgrade it all the same, or " +
			"take the exclusion back (configure with \"excluded\": null)"
	case ReasonBatteryLow:
		return "the battery of the device is below ZIGATE_OTA_UPGRADE_MIN_BATTERY"
	default:
		return ""
	}
}
