using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class ElfVersionNeedsTests
{
    static byte[] Original() => File.ReadAllBytes(NativeNames.Find("libLibTorchSharp.so") ?? throw new FileNotFoundException("libLibTorchSharp.so"));

    [Fact]
    public void Only_the_flags_of_the_named_versions_change()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "ELF files are Linux's");
        byte[] original = Original(), changed = [.. original];
        int marked = ElfVersionNeeds.Weaken(changed, ["GLIBCXX_3.4.32"]);
        Assert.Equal(1, marked);
        Assert.Equal(1, original.Zip(changed).Count(pair => pair.First != pair.Second));
        Assert.Equal(0, ElfVersionNeeds.Weaken([.. original], ["GLIBCXX_9.9"]));
    }

    [Fact]
    public void Anything_but_such_a_file_is_refused()
    {
        Assert.Throws<BadImageFormatException>(() => ElfVersionNeeds.Weaken(new byte[10], ["X"]));
        Assert.Throws<BadImageFormatException>(() => ElfVersionNeeds.Weaken(new byte[1000], ["X"]));
    }

    [Fact]
    public void Damaged_files_end_in_an_exception_or_a_count_never_in_a_hang()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "ELF files are Linux's");
        var original = Original();
        long sections = BitConverter.ToInt64(original, 0x28);
        var random = new Random(1);
        for (int i = 0; i < 300; i++)
        {
            var damaged = original[..(i % 3 == 0 ? random.Next(64, original.Length) : original.Length)];
            for (int k = 0; k < 20; k++)
            {
                // headers and section table, where every byte counts
                long at = random.Next(2) == 0 ? random.Next(6, 64) : sections + random.Next(64 * 40);
                if (at < damaged.Length) damaged[at] = (byte)random.Next(256);
            }
            try
            {
                ElfVersionNeeds.Weaken(damaged, ["GLIBCXX_3.4.32"]);
            }
            catch (BadImageFormatException)
            {
            }
        }
    }
}
