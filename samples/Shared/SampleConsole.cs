using System.Text;

/// <summary>
/// Prepares the console of a sample: output is UTF-8 on Windows too, and closing the terminal does not end the program before it has saved.
/// </summary>
static class SampleConsole
{
    /// <summary>Prepares the console. The first line of each sample calls it.</summary>
    public static void Prepare()
    {
        Console.OutputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
        Console.SetOut(new SteadyWriter(Console.Out));
        Console.SetError(new SteadyWriter(Console.Error));
    }

    /// <summary>Forwards text, and drops it after the terminal is closed.</summary>
    sealed class SteadyWriter(TextWriter target) : TextWriter
    {
        public override Encoding Encoding => target.Encoding;

        public override void Write(char value) => Try(() => target.Write(value));

        public override void Write(string? value) => Try(() => target.Write(value));

        public override void Write(char[] buffer, int index, int count) => Try(() => target.Write(buffer, index, count));

        public override void Flush() => Try(target.Flush);

        static void Try(Action write)
        {
            try
            {
                write();
            }
            catch (IOException)
            {
            }
        }
    }
}
