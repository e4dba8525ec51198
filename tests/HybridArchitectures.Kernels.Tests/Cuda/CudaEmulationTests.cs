namespace HybridArchitectures.Kernels.Tests.Cuda;

public class CudaEmulationTests
{
    [Fact]
    public void Kernels_that_were_unused_for_days_are_deleted()
    {
        string temporary = Directory.CreateTempSubdirectory("emulation-test-").FullName;
        try
        {
            string Kernel(string folder, int days, string name)
            {
                string file = Path.Combine(temporary, folder, name);
                Directory.CreateDirectory(Path.GetDirectoryName(file)!);
                File.WriteAllText(file, "");
                var time = DateTime.UtcNow.AddDays(-days);
                File.SetLastWriteTimeUtc(file, time);
                File.SetLastAccessTimeUtc(file, time);
                Directory.SetLastWriteTimeUtc(Path.Combine(temporary, folder), time);
                return file;
            }
            string prefix = $"HybridArchitectures-emulation-{Environment.UserName}-", current = $"{prefix}current";
            string[] kept =
            [
                Kernel(current, 9, "driver.so"), Kernel(current, 1, "cuda/recent.image"), Kernel($"{prefix}other", 1, "driver.so"),
                Kernel("emulation123456", 0, "SelectiveScan.cu"), Kernel("another", 9, "driver.so"),
            ];
            string[] gone =
            [
                Kernel(current, 9, "cuda/old.image"), Kernel($"{prefix}old", 9, "driver.so"), Kernel($"{prefix}killed", 9, "driver.so.123"),
                Kernel("emulation654321", 9, "SelectiveScan.cu"),
            ];
            CudaEmulation.DeleteUnused(temporary, Path.Combine(temporary, current));
            Assert.All(kept, file => Assert.True(File.Exists(file), file));
            Assert.All(gone, file => Assert.False(File.Exists(file), file));
            Assert.False(Directory.Exists(Path.Combine(temporary, $"{prefix}old")));
        }
        finally
        {
            Directory.Delete(temporary, recursive: true);
        }
    }
}
