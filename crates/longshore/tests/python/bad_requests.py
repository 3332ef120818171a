"""Sends what no client should send, properly signed, and checks each refusal."""

import datetime
import json
import os
import sys
import urllib.error
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

key, secret = sys.argv[1:3]
endpoint = os.environ["AWS_ENDPOINT_URL"] + "/"
JSON = "application/x-amz-json-1.1"
ECS = "AmazonEC2ContainerServiceV20141113."


def send(body, target=ECS + "ListClusters", service="ecs", when=None):
    headers = {"Content-Type": JSON}
    if target:
        headers["X-Amz-Target"] = target
    request = AWSRequest("POST", endpoint, data=body, headers=headers)
    signer = SigV4Auth(Credentials(key, secret), service, "us-east-1")
    if when:
        import botocore.auth

        class Fixed(datetime.datetime):
            @classmethod
            def utcnow(cls):
                return when

            @classmethod
            def now(cls, tz=None):
                return when.replace(tzinfo=tz)

        real = botocore.auth.datetime
        real_get = getattr(botocore.auth, "get_current_datetime", None)
        if real_get:
            botocore.auth.get_current_datetime = lambda *args, **kwargs: when
        try:
            if isinstance(real, type(datetime)):
                pass
            else:
                botocore.auth.datetime = Fixed
            signer.add_auth(request)
        finally:
            botocore.auth.datetime = real
            if real_get:
                botocore.auth.get_current_datetime = real_get
    else:
        signer.add_auth(request)
    prepared = request.prepare()
    plain = urllib.request.Request(prepared.url, data=prepared.body, headers=dict(prepared.headers), method="POST")
    try:
        with urllib.request.urlopen(plain, timeout=60) as answer:
            return answer.status, json.loads(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers


def refused(what, answer, status, code):
    got_status, body, headers = answer
    kind = body.get("__type", "").split("#")[-1]
    assert (got_status, kind) == (status, code), f"{what}: {got_status} {body}"
    assert headers["x-amzn-RequestId"], what
    print(what, "->", kind)


status, body, _ = send(b"{}")
assert status == 200, body
refused("malformed JSON", send(b'{"maxResults": '), 400, "SerializationException")
refused("a wrong type", send(b'{"maxResults": "many"}'), 400, "SerializationException")
refused("an unknown operation", send(b"{}", ECS + "LaunchRocket"), 400, "UnknownOperationException")
refused("a missing target", send(b"{}", None), 400, "UnknownOperationException")
refused("a stale date", send(b"{}", when=datetime.datetime(2020, 1, 1)), 400, "InvalidSignatureException")
refused("a scope of another service", send(b"{}", service="logs"), 400, "InvalidSignatureException")
try:
    answer = send(b" " * (20 * 1024 * 1024))
    assert answer[0] == 413, answer
    print("a body of 20 MB ->", answer[1])
except urllib.error.URLError as error:
    # urllib sends the whole body before it reads: a server may cut it off after its answer.
    assert isinstance(error.reason, (ConnectionResetError, BrokenPipeError)), error
    print("a body of 20 MB -> cut off")
status, body, _ = send(b"{}")
assert status == 200, body
print("all refused")
