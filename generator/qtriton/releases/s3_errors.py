"""What boto3 raises, in one sentence with the way out."""

from __future__ import annotations

from typing import Final

from botocore import exceptions as boto

from qtriton.errors import InputError, QtritonError, SetupError, StoreError, UnsupportedError
from qtriton.releases.address import S3Address

#: Credentials that the store does not know, or no longer.
_CREDENTIALS: Final = (
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"),
    *("AuthorizationHeaderMalformed", "RequestTimeTooSkewed", "InvalidClientTokenId"),
)
_DENIED: Final = ("AccessDenied", "AllAccessDisabled", "Forbidden", "403")
_THROTTLED: Final = ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429")
_NO_CREDENTIALS: Final = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
_NO_ANSWER: Final = (
    *(boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ReadTimeoutError, boto.ConnectionClosedError),
    *(boto.ProxyConnectionError, boto.HTTPClientError),
)
_SET_THEM: Final = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


def explain(error: Exception, address: S3Address, endpoint: str) -> QtritonError:
    """The error for the user that says what one of boto3's means.

    Args:
        error: a ClientError, or another of botocore's.
        address: what was asked for.
        endpoint: the URL that was asked; "" where none was chosen yet.
    """
    where = f"s3://{address.bucket}" + (f" at {endpoint}" if endpoint else "")
    if isinstance(error, boto.ClientError):
        return _refusal(error, where)
    if isinstance(error, _NO_CREDENTIALS):
        return SetupError(f"{where}: boto3 finds no credentials ({error}). {_SET_THEM}.")
    if isinstance(error, boto.ProfileNotFound | boto.ConfigParseError | boto.ConfigNotFound):
        return SetupError(f"{where}: {error}. Correct AWS_PROFILE, or the file that it names a profile of.")
    if isinstance(error, boto.SSLError):
        return SetupError(f"{where}: its certificate is not accepted ({error}). Name yours with AWS_CA_BUNDLE.")
    if isinstance(error, _NO_ANSWER):
        return StoreError(
            f"{where}: no answer ({error}). Look after the network and the proxy, or name the service's URL with "
            "--endpoint-url; what was sent is kept."
        )
    if isinstance(error, boto.NoRegionError | boto.InvalidRegionError):
        return SetupError(f"{where}: {error}. Set AWS_DEFAULT_REGION to the bucket's region.")
    if isinstance(error, boto.ParamValidationError):
        return InputError(f"{where}: {' '.join(str(error).split())}. Name another bucket or prefix.")
    return StoreError(f"{where}: {' '.join(str(error).split())}. Run this again; what was sent is kept.")


def _refusal(error: boto.ClientError, where: str) -> QtritonError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return InputError(f"{where}: there is no such bucket. Create it, or name another.")
    if code in _CREDENTIALS:
        return SetupError(f"{where}: the credentials are not accepted ({code}). {_SET_THEM} to those of this store.")
    if code in _DENIED:
        return SetupError(
            f"{where}: access denied to {error.operation_name} ({code}). Ask for s3:ListBucket, s3:GetObject, "
            f"s3:PutObject and s3:DeleteObject there. {_SET_THEM} where you have others."
        )
    if code in _THROTTLED or status in (429, 503):
        return StoreError(
            f"{where}: too many requests ({code or status}), also after pauses. Run this again later; what was sent is "
            "kept. AWS_MAX_ATTEMPTS allows more attempts."
        )
    if code == "NotImplemented" or status == 501:
        return UnsupportedError(
            f"{where}: does not implement {error.operation_name} as it is asked for. Use a store that has conditional "
            "writes (If-None-Match and If-Match), or publish into a folder."
        )
    if code in ("PermanentRedirect", "IllegalLocationConstraintException", "301"):
        return SetupError(f"{where}: the bucket is in another region. Set AWS_DEFAULT_REGION to it.")
    message = error.response.get("Error", {}).get("Message", "")
    return StoreError(f"{where}: {error.operation_name} failed ({code or status}: {message}). Run this again.")
