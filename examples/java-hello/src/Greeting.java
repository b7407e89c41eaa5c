final class Greeting {
    private Greeting() {
    }

    static String to(String whom) {
        return "Hello from " + whom + ".";
    }
}
