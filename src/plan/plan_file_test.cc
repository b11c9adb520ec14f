// SPDX-License-Identifier: Apache-2.0
#include "plan/plan_file.h"
#include <gtest/gtest.h>
