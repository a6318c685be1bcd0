package s3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"

	"ensync/store/backend"
	safe "ensync/store/internal/printable"
)

// What attempts fail with, beside the errors of package backend.
var (
	// errAgain says that another attempt may go well; the one before it may have been done.
	errAgain = errors.New("no clear answer")
	// errSlow says that the server wants fewer requests.
	errSlow = fmt.Errorf("%w: the server asks for fewer requests", errAgain)
	// errConflict is what a condition on an object ends with that somebody else is writing at this moment.
	errConflict = fmt.Errorf("%w: somebody else is writing it", errAgain)
	// errCondition says that a condition (If-Match, If-None-Match) does not hold.
	errCondition = errors.New("precondition failed")
	// errRange says that no byte is in the range.
	errRange = errors.New("range not satisfiable")
	// errExpired says that the credentials are too old.
	errExpired = fmt.Errorf("%w: the credentials have expired", backend.ErrDenied)
)

const maxText = 500 // bytes of a server's words in a message

// refusal is an error that the server told, in XML.
type refusal struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
	Region  string
	status  int
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the server says %d %s: %s", r.status, r.Code, r.Message)
}

// parseRefusal reads an error's body. nil says that it is not S3 that speaks: a portal, a proxy, a broken server.
func parseRefusal(body []byte) *refusal {
	var r refusal
	if err := xml.Unmarshal(body, &r); err != nil || r.Code == "" {
		return nil
	}
	r.Code, r.Message, r.Region = printable(r.Code), printable(r.Message), printable(r.Region)
	return &r
}

// printable makes text of the other side harmless.
func printable(text string) string { return safe.Text(text, maxText) }

// failure tells what an answer that is no success means. Only S3's own word for it is absence.
func failure(status int, body []byte) error {
	r := parseRefusal(body)
	if r == nil {
		return bare(status)
	}
	r.status = status
	var said error = r
	switch r.Code {
	case "NoSuchKey":
		if status == http.StatusNotFound {
			return backend.ErrNotExist
		}
	case "PreconditionFailed":
		return errCondition
	case "ConditionalRequestConflict", "OperationAborted":
		return fmt.Errorf("%w (%w)", errConflict, said)
	case "InvalidRange":
		return errRange
	case "SlowDown", "TooManyRequests", "ThrottlingException", "XMinioServerNotInitialized", "RequestLimitExceeded":
		return fmt.Errorf("%w (%w)", errSlow, said)
	case "RequestTimeout", "InternalError", "ServiceUnavailable", "IncompleteBody", "XAmzContentSHA256Mismatch", "BadDigest":
		return fmt.Errorf("%w (%w)", errAgain, said)
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientCapacity", "StorageFull":
		return fmt.Errorf("%w (%w)", backend.ErrFull, said)
	case "EntityTooLarge", "KeyTooLongError":
		return fmt.Errorf("%w (%w)", backend.ErrInvalid, said)
	case "NoSuchBucket":
		return fmt.Errorf("%w (%w); create the bucket, or correct its name", backend.ErrUnavailable, said)
	case "ExpiredToken", "TokenRefreshRequired", "ExpiredTokenException":
		return fmt.Errorf("%w (%w); renew them", errExpired, said)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "XAdminUserNotFound": // the last one is versitygw's
		return fmt.Errorf("%w (%w); the credentials are wrong, or the proxy between changes requests", backend.ErrDenied, said)
	case "RequestTimeTooSkewed":
		return fmt.Errorf("%w (%w); set this machine's clock", backend.ErrDenied, said)
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect":
		return fmt.Errorf("%w (%w); the region is another one%s: set region in the table [s3] of the configuration, or AWS_REGION",
			backend.ErrUnavailable, said, hint(r.Region))
	}
	if err := bare(status); errors.Is(err, errAgain) {
		return fmt.Errorf("%w (%w)", err, said)
	}
	if status == http.StatusForbidden || status == http.StatusUnauthorized {
		return fmt.Errorf("%w (%w)", backend.ErrDenied, said)
	}
	return fmt.Errorf("%w (%w)", backend.ErrUnavailable, said)
}

func hint(region string) string {
	if region == "" {
		return ""
	}
	return ", " + region
}

// bare tells what a status means that comes without S3's words. It is never absence, and never a refusal: nobody knows
// who speaks.
func bare(status int) error {
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return fmt.Errorf("%w (status %d)", errSlow, status)
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return fmt.Errorf("%w (status %d)", errAgain, status)
	case http.StatusInsufficientStorage:
		return fmt.Errorf("%w (status %d)", backend.ErrFull, status)
	}
	return fmt.Errorf("%w: status %d without an answer of S3; is the endpoint right, and nothing else answers for it?", backend.ErrUnavailable, status)
}
