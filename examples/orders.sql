-- Sample orders, in Chinese and English. `relayfleet up` builds examples/orders.db from this file.
CREATE TABLE orders (
  order_id   TEXT PRIMARY KEY,
  user_id    TEXT NOT NULL,
  customer   TEXT NOT NULL,
  item       TEXT NOT NULL,  -- 商品
  item_en    TEXT NOT NULL,
  price_cny  INTEGER NOT NULL,
  status     TEXT NOT NULL,
  status_zh  TEXT NOT NULL,  -- 状态
  eta        TEXT NOT NULL,  -- ISO date
  carrier    TEXT NOT NULL
);
INSERT INTO orders VALUES
  ('2026110172', 'u_1018', 'David Brown', '智能温控器', 'Smart thermostat', 599, 'returned', '已退货', '2026-11-05', '顺丰速运'),
  ('2026110177', 'u_1018', 'David Brown', '蓝牙鼠标', 'Bluetooth mouse', 129, 'shipped', '运输中', '2026-11-04', '京东物流'),
  ('2026110238', 'u_1020', '李强', '手冲咖啡壶套装', 'Pour-over coffee set', 459, 'paid', '已付款', '2026-11-06', '中通快递'),
  ('2026110301', 'u_1001', '王芳', '轻薄笔记本电脑 14 寸', 'Ultralight laptop 14"', 4599, 'shipped', '运输中', '2026-11-26', '顺丰速运'),
  ('2026110317', 'u_1038', '张伟', '平板电脑', 'Tablet', 2799, 'cancelled', '已取消', '2026-11-09', 'DHL'),
  ('2026110328', 'u_1018', 'David Brown', '平板电脑', 'Tablet', 2799, 'paid', '已付款', '2026-11-10', '中通快递'),
  ('2026110417', 'u_1007', 'John Smith', '机械键盘', 'Mechanical keyboard', 699, 'out for delivery', '派送中', '2026-11-23', 'UPS'),
  ('2026110438', 'u_1038', '张伟', '蓝牙鼠标', 'Bluetooth mouse', 129, 'cancelled', '已取消', '2026-11-06', 'DHL'),
  ('2026110456', 'u_1004', '赵敏', '轻薄笔记本电脑 14 寸', 'Ultralight laptop 14"', 4599, 'delivered', '已签收', '2026-11-09', 'DHL'),
  ('2026110471', 'u_1014', 'Maria Garcia', '移动固态硬盘 1TB', 'Portable SSD 1 TB', 649, 'cancelled', '已取消', '2026-11-06', '中通快递'),
  ('2026110475', 'u_1011', '黄磊', '27 寸 4K 显示器', '27-inch 4K monitor', 2399, 'out for delivery', '派送中', '2026-11-11', 'DHL'),
  ('2026110522', 'u_1012', '刘洋', '27 寸 4K 显示器', '27-inch 4K monitor', 2399, 'shipped', '运输中', '2026-11-25', '京东物流'),
  ('2026110563', 'u_1010', 'Sophie Martin', '双频路由器', 'Dual-band router', 399, 'delivered', '已签收', '2026-11-12', 'UPS'),
  ('2026110578', 'u_1006', '周杰', '双频路由器', 'Dual-band router', 399, 'paid', '已付款', '2026-11-07', '中通快递'),
  ('2026110633', 'u_1003', 'Anna Keller', '无线耳机', 'Wireless headphones', 899, 'packed', '已打包', '2026-11-28', 'DHL'),
  ('2026110712', 'u_1015', '陈静', '智能手表', 'Smart watch', 1299, 'paid', '已付款', '2026-11-30', '中通快递'),
  ('2026110757', 'u_1038', '张伟', '手冲咖啡壶套装', 'Pour-over coffee set', 459, 'paid', '已付款', '2026-11-10', 'UPS'),
  ('2026110773', 'u_1022', '吴婷', '手冲咖啡壶套装', 'Pour-over coffee set', 459, 'cancelled', '已取消', '2026-11-15', 'UPS'),
  ('2026110828', 'u_1018', 'David Brown', '移动固态硬盘 1TB', 'Portable SSD 1 TB', 649, 'delivered', '已签收', '2026-11-19', 'DHL'),
  ('2026110829', 'u_1016', '孙悦', '27 寸 4K 显示器', '27-inch 4K monitor', 2399, 'paid', '已付款', '2026-11-12', '中通快递'),
  ('2026111059', 'u_1031', 'Tom Becker', '双频路由器', 'Dual-band router', 399, 'cancelled', '已取消', '2026-11-12', '中通快递'),
  ('2026111077', 'u_1020', '李强', '双频路由器', 'Dual-band router', 399, 'out for delivery', '派送中', '2026-11-19', '顺丰速运'),
  ('2026111129', 'u_1006', '周杰', '蓝牙鼠标', 'Bluetooth mouse', 129, 'out for delivery', '派送中', '2026-11-13', 'UPS'),
  ('2026111360', 'u_1012', '刘洋', '电脑双肩包', 'Laptop backpack', 329, 'returned', '已退货', '2026-11-16', 'DHL'),
  ('2026111415', 'u_1023', '林晓', '机械键盘', 'Mechanical keyboard', 699, 'cancelled', '已取消', '2026-11-21', '京东物流'),
  ('2026111418', 'u_1005', 'Emma Wilson', '机械键盘', 'Mechanical keyboard', 699, 'packed', '已打包', '2026-11-22', 'UPS'),
  ('2026111530', 'u_1008', '高峰', '双频路由器', 'Dual-band router', 399, 'paid', '已付款', '2026-11-17', 'UPS'),
  ('2026111556', 'u_1017', 'Lucas Rossi', '无线耳机', 'Wireless headphones', 899, 'shipped', '运输中', '2026-11-19', 'UPS'),
  ('2026111625', 'u_1032', '马丽', '电脑双肩包', 'Laptop backpack', 329, 'paid', '已付款', '2026-11-25', '京东物流'),
  ('2026111712', 'u_1011', '黄磊', '手冲咖啡壶套装', 'Pour-over coffee set', 459, 'packed', '已打包', '2026-11-24', 'UPS'),
  ('2026111825', 'u_1008', '高峰', '智能手表', 'Smart watch', 1299, 'delivered', '已签收', '2026-11-22', 'UPS'),
  ('2026111845', 'u_1028', '何静', '移动固态硬盘 1TB', 'Portable SSD 1 TB', 649, 'packed', '已打包', '2026-11-24', 'DHL'),
  ('2026112024', 'u_1020', '李强', '轻薄笔记本电脑 14 寸', 'Ultralight laptop 14"', 4599, 'out for delivery', '派送中', '2026-11-25', '中通快递'),
  ('2026112058', 'u_1024', 'Olivia Brown', '蓝牙鼠标', 'Bluetooth mouse', 129, 'packed', '已打包', '2026-11-26', '京东物流'),
  ('2026112073', 'u_1007', 'John Smith', '电脑双肩包', 'Laptop backpack', 329, 'delivered', '已签收', '2026-11-23', 'DHL'),
  ('2026112093', 'u_1031', 'Tom Becker', '平板电脑', 'Tablet', 2799, 'cancelled', '已取消', '2026-11-22', 'UPS');
CREATE INDEX orders_of_user ON orders (user_id);
