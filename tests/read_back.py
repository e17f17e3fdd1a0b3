#!/usr/bin/env python3
"""Reads an object with the client that operators know, and compares it with a file.

    read_back.py URL MEDIA_TYPE FILE

The URL is s3://, az:// or gs://; credentials and endpoints come from each
client's usual environment. Exit 0: the bytes, the length and the media type are
those of the file, and there is no content encoding (with one, clients would
unpack the archive).
"""

import hashlib
import os
import sys


def s3(bucket, key):
    import boto3
    answer = boto3.client("s3").get_object(Bucket=bucket, Key=key)
    return answer["Body"].read(), answer["ContentType"], answer.get("ContentEncoding"), answer["Metadata"]


def az(container, key):
    from azure.storage.blob import BlobServiceClient
    service = BlobServiceClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"])
    answer = service.get_blob_client(container, key).download_blob()
    about = answer.properties
    settings = about.content_settings
    return answer.readall(), settings.content_type, settings.content_encoding, about.metadata


def gs(bucket, key):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage
    client = storage.Client(project="test", credentials=AnonymousCredentials())
    blob = client.bucket(bucket).get_blob(key)
    return blob.download_as_bytes(), blob.content_type, blob.content_encoding, blob.metadata


def main():
    url, media_type, file = sys.argv[1:]
    scheme, _, rest = url.partition("://")
    place, _, key = rest.partition("/")
    found, found_type, encoding, about = {"s3": s3, "az": az, "gs": gs}[scheme](place, key)
    with open(file, "rb") as handle:
        wanted = handle.read()
    problems = []
    if found != wanted:
        problems.append(f"{len(found)} bytes there are not the {len(wanted)} here")
    if found_type != media_type:
        problems.append(f"media type {found_type}")
    if encoding:
        problems.append(f"content encoding {encoding}")
    if about.get("sha256") != hashlib.sha256(wanted).hexdigest():
        problems.append(f"metadata {about}")
    for problem in problems:
        print(f"{url}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
