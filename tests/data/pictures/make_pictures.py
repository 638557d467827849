"""Makes the pictures beside it. Run once: python3 make_pictures.py (Pillow 13.0.0, numpy 2.4.6). Nothing here is anyone's picture.

All but the flat ones show quadrants.png: 24 x 16, red | green over blue | yellow. exif_N.jpg look upright like it once
orientation N is applied.
"""
import io
import struct
import zlib

import numpy as np
from PIL import Image

H, W = 16, 24
rgb = np.zeros((H, W, 3), np.uint8)
rgb[:8, :12] = 255, 0, 0
rgb[:8, 12:] = 0, 255, 0
rgb[8:, :12] = 0, 0, 255
rgb[8:, 12:] = 255, 255, 0
upright = Image.fromarray(rgb)
upright.save("quadrants.png")
upright.save("quadrants.jpg", quality=95, subsampling=0)
upright.save("progressive.jpg", quality=95, subsampling=0, progressive=True)
upright.save("quadrants.webp", lossless=True)
upright.save("quadrants.bmp")
upright.save("quadrants.ppm")
upright.save("quadrants.gif")
upright.quantize(4).save("palette.png")
upright.convert("CMYK").save("cmyk.jpg", quality=95, subsampling=0)

# What a camera stores so that orientation N makes it upright: the inverse of N.
inverse = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
           5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}
for n, turn in inverse.items():
    exif = Image.Exif()
    exif[0x0112] = n
    stored = upright if turn is None else upright.transpose(turn)
    stored.save(f"exif_{n}.jpg", quality=95, subsampling=0, exif=exif)
    if n == 6:
        stored.save("exif_6.png", exif=exif)
        stored.save("exif_6.webp", lossless=True, exif=exif)

gray = np.tile(np.arange(24, dtype=np.uint8) * 10, (H, 1))
Image.fromarray(gray).save("gray.png")
Image.fromarray(gray).save("gray.jpg", quality=95)
Image.fromarray(gray.astype(np.uint16) * 257).save("gray16.png")
alpha = np.full((H, W), 255, np.uint8)
alpha[:, :12] = 128  # the left half
rgba = Image.fromarray(np.dstack([rgb, alpha]))
rgba.save("alpha.png")
rgba.save("alpha.webp", lossless=True)
Image.fromarray(np.dstack([gray, alpha])).save("gray_alpha.png")
frames = [upright, upright.transpose(Image.Transpose.ROTATE_180)]
frames[0].save("animated.gif", save_all=True, append_images=frames[1:])
frames[0].save("animated.webp", save_all=True, append_images=frames[1:], lossless=True)
Image.new("RGB", (1, 1), (10, 20, 30)).save("one_pixel.png")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits, color, interlace, rows):
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# 16 bits a channel, RGB: Pillow does not write it.
wide = (rgb.astype(">u2") * 257).tobytes()
stride = W * 6
open("rgb16.png", "wb").write(png(W, H, 16, 2, 0, b"".join(b"\0" + wide[y * stride:(y + 1) * stride] for y in range(H))))
# Adam7 by hand: seven passes of start and step.
passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
rows = b""
for x0, y0, dx, dy in passes:
    for y in range(y0, H, dy):
        line = rgb[y, x0::dx].tobytes()
        rows += b"\0" + line if line else b""
open("interlaced.png", "wb").write(png(W, H, 8, 2, 1, rows))
open("lying.png", "wb").write(png(60000, 60000, 8, 2, 0, b"\0" * 100))
# A JPEG whose frame header claims 60000 x 60000.
data = bytearray(open("quadrants.jpg", "rb").read())
at = data.index(b"\xff\xc0")
data[at + 5:at + 9] = struct.pack(">HH", 60000, 60000)
open("lying.jpg", "wb").write(data)
