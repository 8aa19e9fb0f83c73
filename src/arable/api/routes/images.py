"""Images over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import bringing, image_policies, image_uploads, images
from arable.wire.image_policies import ImagePolicyIn, PinIn
from arable.wire.images import (
    FromFilesIn,
    FromPartsIn,
    ImageChange,
    ImageIn,
    ImageQuery,
    ImageUploadIn,
    ImageUploadQuery,
    UploadQuery,
    VersionQuery,
)

_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/images",
        does=images.page,
        permission=Permission.IMAGE_READ,
        writes=False,
        query=ImageQuery,
        summary="List images",
    ),
    Op(
        method="POST",
        path="/v1/images",
        does=bringing.create,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        takes=ImageIn,
        status=201,
        name="images.create",
        summary="Create an image",
        about=(
            "Of a snapshot it has its first version when its operation is done: a disk with what the snapshot keeps, "
            "and the kernel beside it that the snapshot's machine boots, if that has one."
        ),
        example={"name": "debian", "minimum_memory_mib": 256},
    ),
    Op(
        method="GET",
        path="/v1/images/{image}",
        does=images.get,
        permission=Permission.IMAGE_READ,
        writes=False,
        summary="Show an image with its versions",
    ),
    Op(
        method="PATCH",
        path="/v1/images/{image}",
        does=images.update,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        takes=ImageChange,
        summary="Change an image",
        example={"minimum_memory_mib": 512},
    ),
    Op(
        method="DELETE",
        path="/v1/images/{image}",
        does=images.delete,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        status=204,
        summary="Delete an image without versions",
        about="One that is being made of a snapshot is given up.",
    ),
    Op(
        method="POST",
        path="/v1/images/{image}/versions",
        does=images.upload_version,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        conditions=False,
        query=UploadQuery,
        receive=images.begin_version,
        status=201,
        dry_run=False,
        summary="Upload a version: one disk file",
        about=(
            "The body is the file itself. Its header is judged as it arrives, its SHA-256 must be what `sha256` says "
            "where that is given, and an upload that breaks off leaves nothing behind."
        ),
    ),
    Op(
        method="DELETE",
        path="/v1/images/{image}/versions",
        does=images.delete_version,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        conditions=False,
        query=VersionQuery,
        status=204,
        summary="Delete a version that nothing was made of",
    ),
    Op(
        method="GET",
        path="/v1/images/{image}/policy",
        does=image_policies.get,
        permission=Permission.IMAGE_READ,
        writes=False,
        name="images.policy",
        summary="Say in which other regions an image should be, and how far that is",
    ),
    Op(
        method="PUT",
        path="/v1/images/{image}/policy",
        does=image_policies.put,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        takes=ImagePolicyIn,
        name="images.set_policy",
        summary="Have an image in other regions",
        about=(
            "Instead of what was said before. The regions that are meant bring what they lack by themselves; new "
            "versions follow, unless that is said otherwise. Of a private image they do if its account is federated."
        ),
        example={"at": ["eu-1"], "labels": ["us"]},
    ),
    Op(
        method="DELETE",
        path="/v1/images/{image}/policy",
        does=image_policies.delete,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        status=204,
        name="images.drop_policy",
        summary="Have an image in other regions no more",
        about="Copies stay there until they are let go as any others that nobody uses.",
    ),
    Op(
        method="POST",
        path="/v1/images/{image}/pin",
        does=image_policies.pin,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        takes=PinIn,
        name="images.pin",
        summary="Keep an image version in this region",
        about="One that came from another region is else let go when nobody uses it and room is needed.",
        example={"version": 1},
    ),
    Op(
        method="POST",
        path="/v1/images/{image}/unpin",
        does=image_policies.unpin,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        takes=PinIn,
        name="images.unpin",
        summary="Let an image version go when nobody uses it",
        example={"version": 1},
    ),
    Op(
        method="POST",
        path="/v1/image-parts",
        does=images.upload_part,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        query=UploadQuery,
        receive=images.begin_part,
        status=201,
        dry_run=False,
        name="image_parts.upload",
        summary="Upload a part of a version",
        about=(
            "For versions of several files, such as kernel and initrd. The body is the file itself. A part of which "
            "no version is made within a day is forgotten."
        ),
    ),
    Op(
        method="GET",
        path="/v1/image-uploads",
        does=image_uploads.page,
        permission=Permission.IMAGE_READ,
        writes=False,
        query=ImageUploadQuery,
        summary="List uploads that go on where they broke off",
        about="Complete ones are listed until they expire.",
    ),
    Op(
        method="POST",
        path="/v1/image-uploads",
        does=image_uploads.create,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        takes=ImageUploadIn,
        prepare=image_uploads.look_for,
        status=201,
        summary="Begin an upload that goes on where it broke off",
        about=(
            "What is said of the file comes first, its bytes by `PATCH`. The account's upload of the same file for the same "
            "purpose is given, if there is one that is not complete: so whoever lost its id finds it. Of a file that the account "
            "has brought before, all bytes are there; one empty `PATCH` completes it. Until it is complete or given up it counts in "
            "what the account's images may take, with its whole length."
        ),
        example={"format": "qcow2", "sha256": _DIGEST, "bytes": 1 << 20},
    ),
    Op(
        method="GET",
        path="/v1/image-uploads/{upload}",
        does=image_uploads.get,
        permission=Permission.IMAGE_READ,
        writes=False,
        summary="Say how far an upload is",
        about=(
            "`HEAD` says the same by its headers alone: `Upload-Offset`, `Upload-Length`, `Upload-Complete`. What is told is "
            "safe on the disk."
        ),
    ),
    Op(
        method="PATCH",
        path="/v1/image-uploads/{upload}",
        does=image_uploads.append,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        conditions=False,
        receive=image_uploads.begin_append,
        appends=True,
        dry_run=False,
        summary="Send the next bytes of a file",
        about=(
            "As many as one likes, from `Upload-Offset` on. What came is kept when the connection breaks, and an empty one "
            "may be sent. Another offset than what is there is refused (`wrong-offset`, with the right one), as is a "
            "second connection while one brings bytes (`in-use`). With the last byte the SHA-256 of the whole is checked, and "
            "the version, or the part, is made; bytes that are not what was said are forgotten, all of them."
        ),
    ),
    Op(
        method="DELETE",
        path="/v1/image-uploads/{upload}",
        does=image_uploads.delete,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        conditions=False,
        status=204,
        summary="Give up an upload",
        about="A version that was made of it stays.",
    ),
    Op(
        method="POST",
        path="/v1/images/{image}/versions/from-parts",
        does=images.create_from_parts,
        permission=Permission.IMAGE_WRITE,
        writes=True,
        conditions=False,
        takes=FromPartsIn,
        status=201,
        summary="Create a version of uploaded parts",
        example={"parts": [_DIGEST]},
    ),
    Op(
        method="POST",
        path="/v1/images/{image}/versions/from-files",
        does=images.create_from_files,
        permission=Permission.INFRA_WRITE,
        writes=True,
        conditions=False,
        takes=FromFilesIn,
        prepare=images.copy_files,
        status=201,
        dry_run=False,
        summary="Create a version of files on the management server",
        about="For operators: the files must be in the server's image directory.",
        example={"files": [{"path": "debian-12.qcow2", "format": "qcow2"}]},
    ),
)
