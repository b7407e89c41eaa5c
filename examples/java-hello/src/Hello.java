public final class Hello {
    private Hello() {
    }

    public static void main(String[] arguments) {
        System.out.println(Greeting.to("Java"));
    }
}
