package org.example.notes;

import org.apache.commons.lang3.StringUtils;

public final class Notes {
    private Notes() {
    }

    public static void main(String[] arguments) {
        System.out.println(StringUtils.capitalize(String.join(" ", arguments)));
    }
}
