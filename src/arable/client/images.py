"""Images, as the API offers them."""

from collections.abc import Iterable, Iterator
from typing import Unpack

from arable.client.connection import Group, How, part
from arable.wire.catalogue import FetchIn, WhereOut, WhereQuery
from arable.wire.common import Page
from arable.wire.image_policies import ImagePolicyIn, ImagePolicyOut, PinIn
from arable.wire.images import (
    FromFilesIn,
    FromPartsIn,
    ImageChange,
    ImageIn,
    ImageOut,
    ImageQuery,
    ImageUploadIn,
    ImageUploadOut,
    ImageUploadQuery,
    PartOut,
    UploadQuery,
    VersionOut,
    VersionQuery,
)
from arable.wire.operations import OperationOut


class Images(Group):
    """Images."""

    def page(self, query: ImageQuery | None = None) -> Page[ImageOut]:
        """List images."""
        return self._to.read("/v1/images", Page[ImageOut], query)

    def all(self, query: ImageQuery | None = None) -> Iterator[ImageOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or ImageQuery())

    def create(self, ask: ImageIn, **how: Unpack[How]) -> ImageOut:
        """Create an image."""
        return self._to.write("POST", "/v1/images", ImageOut, ask, how=how)

    def get(self, image: str) -> ImageOut:
        """Show an image with its versions."""
        return self._to.read(f"/v1/images/{part(image)}", ImageOut)

    def update(self, image: str, ask: ImageChange, **how: Unpack[How]) -> ImageOut:
        """Change an image."""
        return self._to.write("PATCH", f"/v1/images/{part(image)}", ImageOut, ask, how=how)

    def delete(self, image: str, **how: Unpack[How]) -> None:
        """Delete an image without versions."""
        self._to.write("DELETE", f"/v1/images/{part(image)}", type(None), how=how)

    def upload_version(
        self, image: str, content: Iterable[bytes], query: UploadQuery
    ) -> VersionOut:
        """Upload a version: one disk file."""
        return self._to.upload(f"/v1/images/{part(image)}/versions", VersionOut, content, query)

    def delete_version(self, image: str, query: VersionQuery, **how: Unpack[How]) -> None:
        """Delete a version that nothing was made of."""
        self._to.write(
            "DELETE", f"/v1/images/{part(image)}/versions", type(None), query=query, how=how
        )

    def create_from_parts(self, image: str, ask: FromPartsIn, **how: Unpack[How]) -> VersionOut:
        """Create a version of uploaded parts."""
        return self._to.write(
            "POST", f"/v1/images/{part(image)}/versions/from-parts", VersionOut, ask, how=how
        )

    def create_from_files(self, image: str, ask: FromFilesIn, **how: Unpack[How]) -> VersionOut:
        """Create a version of files on the management server."""
        return self._to.write(
            "POST", f"/v1/images/{part(image)}/versions/from-files", VersionOut, ask, how=how
        )

    def policy(self, image: str) -> ImagePolicyOut:
        """Say in which other regions an image should be, and how far that is."""
        return self._to.read(f"/v1/images/{part(image)}/policy", ImagePolicyOut)

    def set_policy(self, image: str, ask: ImagePolicyIn, **how: Unpack[How]) -> ImagePolicyOut:
        """Have an image in other regions."""
        path = f"/v1/images/{part(image)}/policy"
        return self._to.write("PUT", path, ImagePolicyOut, ask, how=how)

    def drop_policy(self, image: str, **how: Unpack[How]) -> None:
        """Have an image in other regions no more."""
        self._to.write("DELETE", f"/v1/images/{part(image)}/policy", type(None), how=how)

    def pin(self, image: str, ask: PinIn, **how: Unpack[How]) -> VersionOut:
        """Keep an image version in this region."""
        return self._to.write("POST", f"/v1/images/{part(image)}/pin", VersionOut, ask, how=how)

    def unpin(self, image: str, ask: PinIn, **how: Unpack[How]) -> VersionOut:
        """Let an image version go when nobody uses it."""
        return self._to.write("POST", f"/v1/images/{part(image)}/unpin", VersionOut, ask, how=how)

    def where(self, query: WhereQuery) -> WhereOut:
        """Say in which regions an image's versions are."""
        return self._to.read("/v1/image-catalogue", WhereOut, query)

    def fetch(self, ask: FetchIn, **how: Unpack[How]) -> OperationOut:
        """Bring an image version from another region."""
        return self._to.write("POST", "/v1/image-catalogue/fetch", OperationOut, ask, how=how)


class ImageParts(Group):
    """Image parts."""

    def upload(self, content: Iterable[bytes], query: UploadQuery) -> PartOut:
        """Upload a part of a version."""
        return self._to.upload("/v1/image-parts", PartOut, content, query)


class ImageUploads(Group):
    """Uploads that go on where they broke off; `client/sending.py` sends a whole file."""

    def page(self, query: ImageUploadQuery | None = None) -> Page[ImageUploadOut]:
        """List uploads."""
        return self._to.read("/v1/image-uploads", Page[ImageUploadOut], query)

    def all(self, query: ImageUploadQuery | None = None) -> Iterator[ImageUploadOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or ImageUploadQuery())

    def create(self, ask: ImageUploadIn, **how: Unpack[How]) -> ImageUploadOut:
        """Begin an upload, or find the one of the same file that is under way."""
        return self._to.write("POST", "/v1/image-uploads", ImageUploadOut, ask, how=how)

    def get(self, upload: str) -> ImageUploadOut:
        """Say how far an upload is."""
        return self._to.read(f"/v1/image-uploads/{part(upload)}", ImageUploadOut)

    def append(
        self, upload: str, content: Iterable[bytes], offset: int, *, waits: int = 0
    ) -> ImageUploadOut:
        """Send bytes from there on; `waits`: seconds that the answer may take longer, for what has to be read again."""
        path = f"/v1/image-uploads/{part(upload)}"
        return self._to.append(path, ImageUploadOut, content, offset, waits=waits)

    def delete(self, upload: str, **how: Unpack[How]) -> None:
        """Give up an upload."""
        self._to.write("DELETE", f"/v1/image-uploads/{part(upload)}", type(None), how=how)
