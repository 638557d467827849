#pragma once

// See ../README.md. Nothing of it is used.
